//! `--cluster`: queries that run on a cluster.

use datafusion::common::Result;
use datafusion::execution::SessionState;

/// The session, of which queries run on the cluster of a scheduler.
#[cfg(feature = "cluster")]
pub(crate) async fn session(url: &str, state: SessionState) -> Result<SessionState> {
    let cluster = asof_ballista::Cluster::connect(url).await?;
    Ok(cluster.session(state))
}

/// Says how to get a shell that can.
#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "as the other one")]
pub(crate) async fn session(_: &str, _: SessionState) -> Result<SessionState> {
    datafusion::common::config_err!(
        "this asof was built without --cluster: build it with the cargo feature cluster"
    )
}
