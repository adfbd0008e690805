//! All or nothing for statements that write files.
//!
//! DataFusion's file writers take the end of their input for the end of the data, also when the
//! query has failed in between: `COPY` then leaves a shorter file that looks whole, in place of
//! what was there before. So a writing statement runs over object stores that hold every file back
//! at the point where it would become visible. The files are published when the whole statement
//! has succeeded, and thrown away when it has failed or was cancelled.
//!
//! What is held is little: the rest of each file is already where it belongs, under the
//! temporary name (or in the unfinished upload) that its store uses.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::compute::concat_batches;
use datafusion::common::exec_datafusion_err;
use datafusion::common::tree_node::TreeNode;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    self, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_asof::AsOfQueryPlanner;
use futures::TryFutureExt;
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use url::Url;

#[cfg(test)]
mod tests;

/// Whether executing the plan writes files.
pub(crate) fn writes(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Copy(_) | LogicalPlan::Dml(_))))
        .unwrap_or(true)
}

/// Executes a writing statement, publishes its files, and returns its result (the count of rows).
pub(crate) async fn write(ctx: &SessionContext, statement: DataFrame) -> Result<DataFrame> {
    let held = Held::default();
    let task = statement.task_ctx();
    let runtime = task.runtime_env();
    let registry = HoldingRegistry {
        inner: Arc::clone(&runtime.object_store_registry),
        held: held.clone(),
    };
    let runtime = RuntimeEnvBuilder::from_runtime_env(&runtime)
        .with_object_store_registry(Arc::new(registry))
        .build_arc()?;
    let plan = statement.create_physical_plan().await?;
    let schema = plan.schema();
    match collect(plan, Arc::new(task.with_runtime(runtime))).await {
        Ok(batches) => {
            held.publish().await?;
            let counted = ctx.read_batch(concat_batches(&schema, &batches)?)?;
            Ok(shown_here(ctx, counted))
        }
        Err(error) => {
            held.discard();
            Err(held.cause_of(error))
        }
    }
}

/// Rows that are shown by this process, whoever executes the queries of the session.
fn shown_here(ctx: &SessionContext, rows: DataFrame) -> DataFrame {
    let (_, plan) = rows.into_parts();
    let state = SessionStateBuilder::new_from_existing(ctx.state())
        .with_query_planner(Arc::new(AsOfQueryPlanner))
        .build();
    DataFrame::new(state, plan)
}

/// Waits until no upload is left to be thrown away, but not for ever.
pub(crate) async fn settled(patience: Duration) {
    let end = Instant::now() + patience;
    while LIVE_UPLOADS.load(Ordering::Acquire) > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Uploads that are neither published nor thrown away.
static LIVE_UPLOADS: AtomicUsize = AtomicUsize::new(0);

/// What one statement has written.
#[derive(Debug, Clone, Default)]
struct Held(Arc<Mutex<HeldState>>);

#[derive(Debug, Default)]
struct HeldState {
    /// The files that are ready to appear.
    files: Vec<HeldFile>,
    /// What the store said when it first refused to take something.
    refusal: Option<String>,
}

#[derive(Debug)]
enum HeldFile {
    /// An empty file.
    Put(Arc<dyn ObjectStore>, Path, PutPayload, PutOptions),
    /// A file whose parts its store already has.
    Upload(Upload),
}

impl Held {
    fn state(&self) -> MutexGuard<'_, HeldState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, file: HeldFile) -> PutResult {
        self.state().files.push(file);
        PutResult {
            e_tag: None,
            version: None,
        }
    }

    fn take(&self) -> Vec<HeldFile> {
        std::mem::take(&mut self.state().files)
    }

    /// DataFusion reports some failed writes as its own bugs: the store knows better.
    fn cause_of(&self, error: DataFusionError) -> DataFusionError {
        match (error.find_root(), self.state().refusal.take()) {
            (DataFusionError::Internal(_), Some(refusal)) => {
                exec_datafusion_err!("cannot write: {refusal}")
            }
            _ => error,
        }
    }

    /// Makes every file visible; at the first that fails, the rest are thrown away.
    async fn publish(&self) -> Result<()> {
        for file in self.take() {
            match file {
                HeldFile::Put(store, location, payload, options) => {
                    store.put_opts(&location, payload, options).await?;
                }
                HeldFile::Upload(upload) => {
                    upload.complete().await?;
                }
            }
        }
        Ok(())
    }

    fn discard(&self) {
        drop(self.take());
    }
}

/// The session's stores, each holding back what it is given.
#[derive(Debug)]
struct HoldingRegistry {
    inner: Arc<dyn ObjectStoreRegistry>,
    held: Held,
}

impl ObjectStoreRegistry for HoldingRegistry {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.inner.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.inner.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(HoldingStore {
            inner: self.inner.get_store(url)?,
            held: self.held.clone(),
        }))
    }
}

/// A store whose writes wait in [`Held`]; everything else passes through.
#[derive(Debug)]
struct HoldingStore {
    inner: Arc<dyn ObjectStore>,
    held: Held,
}

impl fmt::Display for HoldingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for HoldingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        // Conditional writes must be answered at once, and no file writer uses them.
        if options.mode != PutMode::Overwrite {
            return self.inner.put_opts(location, payload, options).await;
        }
        // A small file too is stored before it is published, so that a full disk is noticed
        // while no file is visible yet. An upload without a byte is not possible everywhere.
        if payload.content_length() > 0 {
            let PutOptions {
                tags,
                attributes,
                extensions,
                ..
            } = options;
            let options = PutMultipartOptions {
                tags,
                attributes,
                extensions,
            };
            let mut upload = self.put_multipart_opts(location, options).await?;
            upload.put_part(payload).await?;
            return upload.complete().await;
        }
        Ok(self.held.hold(HeldFile::Put(
            Arc::clone(&self.inner),
            location.clone(),
            payload,
            options,
        )))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(HoldingUpload {
            upload: Some(Upload::new(
                self.inner.put_multipart_opts(location, options).await?,
            )),
            held: self.held.clone(),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload that its owner need not finish: dropped on the way, it is thrown away.
#[derive(Debug)]
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    fn new(inner: Box<dyn MultipartUpload>) -> Self {
        LIVE_UPLOADS.fetch_add(1, Ordering::AcqRel);
        Self(Some(inner))
    }

    async fn complete(mut self) -> object_store::Result<PutResult> {
        match &mut self.0 {
            Some(upload) => {
                let result = upload.complete().await?;
                self.0 = None;
                LIVE_UPLOADS.fetch_sub(1, Ordering::AcqRel);
                Ok(result)
            }
            None => Err(finished()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else {
            return;
        };
        let abort = async move {
            // The statement has already failed: its error matters, not this one.
            let _ = upload.abort().await;
            LIVE_UPLOADS.fetch_sub(1, Ordering::AcqRel);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(abort)),
            Err(_) => {
                LIVE_UPLOADS.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// An upload that is handed over, not completed, when its writer has finished.
#[derive(Debug)]
struct HoldingUpload {
    /// `None` once handed over or aborted.
    upload: Option<Upload>,
    held: Held,
}

#[async_trait]
impl MultipartUpload for HoldingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(Upload(Some(upload))) = &mut self.upload else {
            return Box::pin(std::future::ready(Err(finished())));
        };
        let (part, held) = (upload.put_part(data), self.held.clone());
        Box::pin(part.inspect_err(move |error| {
            held.state()
                .refusal
                .get_or_insert_with(|| error.to_string());
        }))
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let upload = self.upload.take().ok_or_else(finished)?;
        Ok(self.held.hold(HeldFile::Upload(upload)))
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.upload.take().map(drop).ok_or_else(finished)
    }
}

fn finished() -> object_store::Error {
    object_store::Error::Generic {
        store: "asof",
        source: "the upload has already been finished".into(),
    }
}
