//! Sessions of which queries run on a cluster: nothing else installs anything.
//!
//! | what | where | why there |
//! |---|---|---|
//! | [`options`](crate::options) | session config | |
//! | Ballista's logical rules | before the others | it wants a `NOT IN` before DataFusion rewrites it |
//! | [`ClusterQueryPlanner`] | query planner | in the place of the one that was there |
//! | as-of joins | as `with_asof()` does | |

use std::sync::Arc;

use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion_asof::WithAsOf;

use crate::cluster::Cluster;
use crate::options::with_cluster;
use crate::planner::ClusterQueryPlanner;

impl Cluster {
    /// The session, of which queries that read tables run on the cluster. Its tables are to be
    /// registered afterwards: how files are read depends on it.
    ///
    /// Statements that write have their query run there and write here. What reads no table
    /// (constants, settings, the catalog) runs here. A query planner of the session's own is
    /// replaced.
    pub fn session(&self, state: SessionState) -> SessionState {
        let config = with_cluster(state.config().clone()).with_target_partitions(self.vcores());
        let rules = with_ballista_optimizer_rules(state.optimizers());
        let session = state.session_id().to_owned();
        SessionStateBuilder::new_from_existing(state)
            .with_session_id(session)
            .with_config(config)
            .with_optimizer_rules(rules)
            .with_query_planner(Arc::new(ClusterQueryPlanner::new(self.clone())))
            .with_asof()
            .build()
    }
}
