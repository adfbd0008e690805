//! Reading a result from the executors that hold it.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::client::BallistaClient;
use ballista_core::config::BallistaConfig;
use ballista_core::serde::protobuf::PartitionLocation;
use ballista_core::serde::protobuf::get_job_status_result::FlightProxy;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use futures::{Stream, TryStreamExt, stream};
use url::Url;

/// How long an executor may take to give a part of a result, which it has on its disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where partitions of a result are read from.
pub(crate) struct Source {
    pub(crate) scheduler: String,
    pub(crate) config: BallistaConfig,
    pub(crate) proxy: Option<FlightProxy>,
}

impl Source {
    /// The rows of one partition.
    pub(crate) async fn fetch(
        self,
        location: PartitionLocation,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
        let layout = location.layout();
        let (Some(executor), Some(partition)) = (location.executor_meta, location.partition_id)
        else {
            return exec_err!("the scheduler does not say where the result is");
        };
        let (host, port) = match &self.proxy {
            Some(FlightProxy::External(address)) => host_and_port(&format!("http://{address}"))?,
            Some(FlightProxy::Local(true)) => host_and_port(&self.scheduler)?,
            Some(FlightProxy::Local(false)) | None => (executor.host.clone(), executor.port as u16),
        };
        let client = BallistaClient::try_new(
            &host,
            port,
            self.config.grpc_client_max_message_size(),
            self.config.use_tls(),
            None,
            self.config.io_retries_times() as u8,
            self.config.io_retry_wait_time_ms() as u64,
            0,
            0,
        );
        let unreachable = |why: &dyn std::fmt::Display| {
            exec_datafusion_err!(
                "{host}:{port}, which holds a part of the result, cannot be reached ({why}): run the \
                 query again if the executor was lost; if it cannot be reached from here at all, start \
                 the scheduler with --enable-embedded-flight-proxy"
            )
        };
        let too_long = unreachable(&"it takes too long").strip_backtrace();
        let too_long = move |_| exec_datafusion_err!("{too_long}");
        let client = tokio::time::timeout(PATIENCE, client).await;
        let mut client = client
            .map_err(&too_long)?
            .map_err(|error| unreachable(&error))?;
        let (id, partition) = (executor.id, partition.into());
        let rows = client.fetch_partition_proxied(
            &id,
            &partition,
            location.file_id,
            layout,
            &executor.host,
            executor.port as u16,
            true,
        );
        let rows = tokio::time::timeout(PATIENCE, rows).await;
        let rows = rows
            .map_err(&too_long)?
            .map_err(|error| unreachable(&error))?;
        Ok(stream::try_unfold(
            (rows, too_long),
            async |(mut rows, too_long)| {
                let batch = tokio::time::timeout(PATIENCE, rows.try_next()).await;
                let batch = batch.map_err(&too_long)??;
                Ok::<_, DataFusionError>(batch.map(|batch| (batch, (rows, too_long))))
            },
        ))
    }
}

/// A batch of a result as the plan has it. Executors send dictionaries as their values.
pub(crate) fn as_planned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        },
    );
    let columns = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

fn host_and_port(address: &str) -> Result<(String, u16)> {
    let url = Url::parse(address).ok();
    let parts = url.and_then(|url| Some((url.host_str()?.to_owned(), url.port()?)));
    parts.ok_or_else(|| exec_datafusion_err!("{address} is no address to read a result from"))
}
