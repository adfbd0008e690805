//! `--cluster`: queries that run on a cluster.

use datafusion::common::Result;
use datafusion::execution::SessionState;

#[cfg(feature = "cluster")]
use crate::progress::{self, ProgressLine};

/// The session, of which queries run on the cluster of a scheduler. Unless it is to be quiet, a
/// terminal shows how far they are.
#[cfg(feature = "cluster")]
pub(crate) async fn session(url: &str, state: SessionState, quiet: bool) -> Result<SessionState> {
    let mut cluster = asof_ballista::Cluster::connect(url).await?;
    if !quiet && progress::is_seen() {
        let line = ProgressLine::default();
        cluster = cluster.with_observer(move |progress| line.show(progress));
    }
    Ok(cluster.session(state))
}

/// Says how to get a shell that can.
#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "as the other one")]
pub(crate) async fn session(_: &str, _: SessionState, _: bool) -> Result<SessionState> {
    datafusion::common::config_err!(
        "this asof was built without --cluster: build it with the cargo feature cluster"
    )
}
