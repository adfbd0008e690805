//! As-of joins of logical plans.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, TableReference, exec_err};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{
    AggregateUDF, Extension, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF,
};
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::logical_plan::{DefaultLogicalExtensionCodec, LogicalExtensionCodec};

use super::message::NodeKind;
use super::{read, write};
use crate::logical::AsOfJoinNode;

/// Encodes [`AsOfJoinNode`], and leaves the rest to a codec below.
///
/// ```
/// # use datafusion::error::Result;
/// use datafusion::prelude::SessionContext;
/// use datafusion_asof::{AsOfLogicalCodec, AsOfSql, WithAsOf};
/// use datafusion_proto::bytes::{
///     logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
/// };
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let ctx = SessionContext::new().with_asof();
/// let join = "SELECT * FROM (VALUES (3)) AS t(ts) ASOF JOIN (VALUES (1)) AS q(at) ON ts >= at";
/// let plan = ctx.asof_sql(join).await?.into_unoptimized_plan();
/// let codec = AsOfLogicalCodec::default();
/// let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &codec)?;
/// let decoded = logical_plan_from_bytes_with_extension_codec(&bytes, &ctx.task_ctx(), &codec)?;
/// assert_eq!(decoded.to_string(), plan.to_string());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AsOfLogicalCodec {
    rest: Arc<dyn LogicalExtensionCodec>,
}

impl AsOfLogicalCodec {
    /// A codec that leaves what is not an as-of join to `rest`.
    pub fn over(rest: Arc<dyn LogicalExtensionCodec>) -> Self {
        Self { rest }
    }
}

impl Default for AsOfLogicalCodec {
    /// Over DataFusion's default codec.
    fn default() -> Self {
        Self::over(Arc::new(DefaultLogicalExtensionCodec {}))
    }
}

impl LogicalExtensionCodec for AsOfLogicalCodec {
    fn try_encode(&self, node: &Extension, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(join) = node.node.as_any().downcast_ref::<AsOfJoinNode>() else {
            return self.rest.try_encode(node, buffer);
        };
        let spec = join
            .spec()
            .try_map(|_, expr| serialize_expr(expr, self).map_err(DataFusionError::from))?;
        write(NodeKind::Logical(spec.into()), buffer)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[LogicalPlan],
        context: &TaskContext,
    ) -> Result<Extension> {
        let spec = match read(bytes)? {
            None => return self.rest.try_decode(bytes, inputs, context),
            Some(NodeKind::Logical(spec)) => spec.into_spec()?,
            Some(_) => return exec_err!("a physical ASOF JOIN is no node of a logical plan"),
        };
        let [left, right] = inputs else {
            return exec_err!("an ASOF JOIN has two inputs, not {}", inputs.len());
        };
        let spec =
            spec.try_map(|_, expr| parse_expr(expr, context, self).map_err(DataFusionError::from))?;
        let (left, right) = (Arc::new(left.clone()), Arc::new(right.clone()));
        let node = AsOfJoinNode::try_new(left, right, spec)?;
        Ok(Extension {
            node: Arc::new(node),
        })
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        table: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        self.rest
            .try_decode_table_provider(bytes, table, schema, context)
    }

    fn try_encode_table_provider(
        &self,
        table: &TableReference,
        provider: Arc<dyn TableProvider>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.rest.try_encode_table_provider(table, provider, buffer)
    }

    fn try_decode_file_format(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Arc<dyn FileFormatFactory>> {
        self.rest.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(
        &self,
        buffer: &mut Vec<u8>,
        format: Arc<dyn FileFormatFactory>,
    ) -> Result<()> {
        self.rest.try_encode_file_format(buffer, format)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.rest.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.rest.try_encode_udf(function, buffer)
    }

    fn try_decode_higher_order_function(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<Arc<HigherOrderUDF>> {
        self.rest.try_decode_higher_order_function(name, bytes)
    }

    fn try_encode_higher_order_function(
        &self,
        function: &HigherOrderUDF,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.rest.try_encode_higher_order_function(function, buffer)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.rest.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, function: &AggregateUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.rest.try_encode_udaf(function, buffer)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> Result<Arc<WindowUDF>> {
        self.rest.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, function: &WindowUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.rest.try_encode_udwf(function, buffer)
    }
}
