//! The nodes of physical plans.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalExprRef, PhysicalSortExpr,
};
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;

use super::message::{
    Join, NodeKind, Order, PinnedScan, ReadInOrder, RowPlace, Spec, Tie, TimeSalt,
};
use super::salt::{hot_keys, salt_parts};
use super::spec::{present, projection, projection_message, strategy, strategy_number};
use super::{MAGIC, read, write};
use crate::exec::{
    AsOfJoinExec, JoinParts, PlaceParts, ReadInOrderExec, RowPlaceExec, TimeSaltExec,
    TimeSaltParts, unpinned,
};
use crate::spec::{AsOfSpec, Side};

/// Encodes [`AsOfJoinExec`] and the nodes that the library puts below it, and leaves the rest to a
/// codec below.
#[derive(Debug)]
pub struct AsOfPhysicalCodec {
    rest: Arc<dyn PhysicalExtensionCodec>,
}

impl AsOfPhysicalCodec {
    /// A codec that leaves what the library does not plan to `rest`.
    pub fn over(rest: Arc<dyn PhysicalExtensionCodec>) -> Self {
        Self { rest }
    }
}

impl Default for AsOfPhysicalCodec {
    /// Over DataFusion's default codec.
    fn default() -> Self {
        Self::over(Arc::new(DefaultPhysicalExtensionCodec {}))
    }
}

/// What encodes expressions.
struct Encoder<'a> {
    codec: &'a AsOfPhysicalCodec,
    converter: &'a dyn PhysicalProtoConverterExtension,
}

impl Encoder<'_> {
    fn spec(&self, spec: &AsOfSpec<PhysicalExprRef>) -> Result<Spec<PhysicalExprNode>> {
        let spec =
            spec.try_map(|_, expr| self.converter.physical_expr_to_proto(expr, self.codec))?;
        Ok(spec.into())
    }

    fn join(&self, parts: JoinParts) -> Result<NodeKind> {
        Ok(NodeKind::Join(Join {
            spec: Some(self.spec(&parts.spec)?),
            strategy: strategy_number(parts.strategy),
            reason: parts.reason,
            projection: projection_message(parts.projection),
            distributed: parts.distributed,
            indexes_partitions: parts.indexes_partitions,
            streams: parts.streams,
        }))
    }

    fn read_in_order(&self, node: &ReadInOrderExec) -> Result<NodeKind> {
        let by = |expr: PhysicalSortExpr| {
            Ok(Tie {
                expr: Some(
                    self.converter
                        .physical_expr_to_proto(&expr.expr, self.codec)?,
                ),
                descending: expr.options.descending,
                nulls_first: expr.options.nulls_first,
            })
        };
        let order = |order: LexOrdering| {
            let by = order.into_iter().map(by).collect::<Result<_>>()?;
            Ok(Order { by })
        };
        let orders = node.orders().into_iter().map(order);
        Ok(NodeKind::ReadInOrder(ReadInOrder {
            orders: orders.collect::<Result<_>>()?,
            tasks: u32::try_from(node.tasks()).unwrap_or(u32::MAX),
        }))
    }

    fn time_salt(&self, parts: TimeSaltParts) -> Result<NodeKind> {
        Ok(NodeKind::TimeSalt(TimeSalt {
            spec: Some(self.spec(&parts.spec)?),
            is_right: parts.side == Side::Right,
            projection: projection_message(parts.projection),
            other: Some(parts.other.as_ref().try_into()?),
            hot_keys: hot_keys(&parts.salt)?,
            salts: parts.salt.salts,
            dealt: parts.salt.dealt,
        }))
    }
}

fn row_place(parts: PlaceParts) -> NodeKind {
    NodeKind::RowPlace(RowPlace {
        first_rank: parts.ranks.start,
        end_rank: parts.ranks.end,
        numbers: parts.numbers,
    })
}

/// What decodes expressions.
struct Decoder<'a> {
    context: PhysicalPlanDecodeContext<'a>,
    converter: &'a dyn PhysicalProtoConverterExtension,
}

impl Decoder<'_> {
    fn spec(
        &self,
        spec: Option<Spec<PhysicalExprNode>>,
        [left, right]: &[SchemaRef; 2],
    ) -> Result<AsOfSpec<PhysicalExprRef>> {
        for schema in [left, right] {
            check_widths(schema)?;
        }
        let neither = Schema::empty();
        let both = left.fields().iter().chain(right.fields()).cloned();
        let both = Schema::new(both.collect::<Vec<_>>());
        present(spec, "specification")?
            .into_spec()?
            .try_map(|side, expr| {
                let schema = match side {
                    Side::Left => left.as_ref(),
                    Side::Right => right.as_ref(),
                    Side::Both => &both,
                    Side::Neither => &neither,
                };
                let converter = self.converter;
                let expr = converter.proto_to_physical_expr(expr, schema, &self.context)?;
                check_columns(&expr, schema)?;
                Ok(expr)
            })
    }

    fn join(&self, join: Join, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<AsOfJoinExec> {
        let [left, right] = inputs_of("an ASOF JOIN", inputs)?;
        let strategy = strategy(join.strategy)?;
        let schemas = JoinParts::own_schemas(strategy, &left.schema(), &right.schema())?;
        let parts = JoinParts {
            spec: self.spec(join.spec, &schemas)?,
            strategy,
            reason: join.reason,
            projection: projection(join.projection),
            distributed: join.distributed,
            indexes_partitions: join.indexes_partitions,
            streams: join.streams,
        };
        parts.over(Arc::clone(left), Arc::clone(right))
    }

    fn time_salt(&self, node: TimeSalt, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<TimeSaltExec> {
        let [input] = inputs_of("a time salt", inputs)?;
        let side = match node.is_right {
            true => Side::Right,
            false => Side::Left,
        };
        let other: Schema = (&present(node.other, "other side")?).try_into()?;
        let other = Arc::new(other);
        let schemas = TimeSaltParts::own_schemas(side, &input.schema(), &other)?;
        let spec = self.spec(node.spec, &schemas)?;
        let parts = TimeSaltParts {
            side,
            salt: salt_parts(
                node.hot_keys,
                (node.salts, node.dealt),
                &key_types(&spec, &schemas)?,
            )?,
            spec,
            projection: projection(node.projection),
            other,
        };
        parts.over(Arc::clone(input))
    }

    fn read_in_order(
        &self,
        node: ReadInOrder,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<ReadInOrderExec> {
        let [input] = inputs_of("a reader in order", inputs)?;
        let schema = input.schema();
        let by = |tie: Tie<PhysicalExprNode>| {
            let expr = present(tie.expr, "order")?;
            let expr = self
                .converter
                .proto_to_physical_expr(&expr, &schema, &self.context)?;
            check_columns(&expr, &schema)?;
            let options = SortOptions::new(tie.descending, tie.nulls_first);
            Ok(PhysicalSortExpr::new(expr, options))
        };
        let orders = node.orders.into_iter().map(|order| {
            let by = order.by.into_iter().map(by).collect::<Result<Vec<_>>>()?;
            present(LexOrdering::new(by), "order")
        });
        let orders = orders.collect::<Result<Vec<_>>>()?;
        let orders = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orders);
        let tasks = node.tasks as usize;
        Ok(ReadInOrderExec::new(Arc::clone(input), tasks, orders))
    }

    /// The scan is pinned again where it is read.
    fn scan(&self, node: PinnedScan) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = present(node.scan, "scan")?;
        // Ours in ours could go on and on.
        if let Some(PhysicalPlanType::Extension(node)) = &scan.physical_plan_type
            && node.node.starts_with(MAGIC)
        {
            return exec_err!("an ASOF JOIN is no scan");
        }
        let scan = self
            .converter
            .proto_to_execution_plan(&scan, &self.context)?;
        match scan.is::<DataSourceExec>() {
            true => Ok(scan),
            false => exec_err!("{} is no scan", scan.name()),
        }
    }
}

fn key_types(
    spec: &AsOfSpec<PhysicalExprRef>,
    [left, _]: &[SchemaRef; 2],
) -> Result<Vec<DataType>> {
    let keys = spec.on.iter().map(|key| key.left.data_type(left));
    keys.collect()
}

fn placed(node: RowPlace, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<RowPlaceExec> {
    let [input] = inputs_of("a row place", inputs)?;
    let parts = PlaceParts {
        ranks: node.first_rank..node.end_rank,
        numbers: node.numbers,
    };
    parts.over(Arc::clone(input))
}

fn inputs_of<'a, const N: usize>(
    what: &str,
    inputs: &'a [Arc<dyn ExecutionPlan>],
) -> Result<&'a [Arc<dyn ExecutionPlan>; N]> {
    inputs
        .try_into()
        .or_else(|_| exec_err!("{what} has {N} inputs, not {}", inputs.len()))
}

/// Reading a column that there is not would be an error of each batch.
fn check_columns(expr: &PhysicalExprRef, schema: &Schema) -> Result<()> {
    expr.apply(|part| {
        if let Some(column) = part.downcast_ref::<Column>()
            && column.index() >= schema.fields().len()
        {
            return exec_err!(
                "an ASOF JOIN reads column {} of {}",
                column.index(),
                schema.fields().len()
            );
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(|_| ())
}

/// A NULL of a column takes what its type says, which may be more than there is memory.
fn check_widths(schema: &Schema) -> Result<()> {
    const MOST: usize = 16 << 20;
    let width = schema.fields().iter().try_fold(0usize, |sum, field| {
        sum.checked_add(width(field.data_type())?)
    });
    match width {
        Some(width) if width <= MOST => Ok(()),
        _ => exec_err!("rows of an ASOF JOIN take more than {MOST} bytes by their types alone"),
    }
}

/// The bytes that every value of a type takes; `None` for more than can be counted.
fn width(data_type: &DataType) -> Option<usize> {
    const ANY: usize = 32;
    match data_type {
        DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).ok(),
        DataType::FixedSizeList(item, length) => usize::try_from(*length)
            .ok()?
            .checked_mul(width(item.data_type())?),
        DataType::Struct(fields) => fields.iter().try_fold(0usize, |sum, field| {
            sum.checked_add(width(field.data_type())?)
        }),
        DataType::Dictionary(_, value) => width(value),
        _ => Some(ANY),
    }
}

impl PhysicalExtensionCodec for AsOfPhysicalCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let encoder = Encoder {
            codec: self,
            converter,
        };
        let kind = if let Some(join) = node.downcast_ref::<AsOfJoinExec>() {
            encoder.join(JoinParts::of(join))?
        } else if let Some(salt) = node.downcast_ref::<TimeSaltExec>() {
            encoder.time_salt(TimeSaltParts::of(salt))?
        } else if let Some(place) = node.downcast_ref::<RowPlaceExec>() {
            row_place(PlaceParts::of(place))
        } else if let Some(reader) = node.downcast_ref::<ReadInOrderExec>() {
            encoder.read_in_order(reader)?
        } else if let Some(scan) = unpinned(&node) {
            NodeKind::PinnedScan(PinnedScan {
                scan: Some(converter.execution_plan_to_proto(&scan, self)?),
            })
        } else {
            return self.rest.try_encode(node, buffer, converter);
        };
        write(kind, buffer)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(kind) = read(bytes)? else {
            return self.rest.try_decode(bytes, inputs, context, converter);
        };
        let decoder = Decoder {
            context: PhysicalPlanDecodeContext::new(context, self),
            converter,
        };
        Ok(match kind {
            NodeKind::Join(join) => Arc::new(decoder.join(join, inputs)?),
            NodeKind::TimeSalt(salt) => Arc::new(decoder.time_salt(salt, inputs)?),
            NodeKind::RowPlace(place) => Arc::new(placed(place, inputs)?),
            NodeKind::PinnedScan(scan) => decoder.scan(scan)?,
            NodeKind::ReadInOrder(node) => Arc::new(decoder.read_in_order(node, inputs)?),
            NodeKind::Logical(_) => {
                return exec_err!("a logical ASOF JOIN is no node of a physical plan");
            }
        })
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

    fn try_decode_expr(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        context: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.rest.try_decode_expr(bytes, inputs, context)
    }

    fn try_encode_expr(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        buffer: &mut Vec<u8>,
        context: &PhysicalExprEncodeCtx<'_>,
    ) -> Result<()> {
        self.rest.try_encode_expr(expr, buffer, context)
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
