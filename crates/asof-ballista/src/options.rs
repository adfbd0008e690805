//! The settings that client, scheduler and executors agree on.
//!
//! They are Ballista's, and on top of them:
//!
//! | setting | value | why |
//! |---|---|---|
//! | `asof.distributed` | `true` | tasks have no memory in common: what is broadcast is whole for each |
//! | `ballista.planner.adaptive.enabled` | `false` | see below |
//! | `datafusion.optimizer.prefer_existing_sort` | `false` | no order survives an exchange between stages |
//!
//! # No adaptive planner
//!
//! Ballista's adaptive planner takes the session's physical optimizer rules for its own, and so the choice
//! of the strategy with it. It also lets an exchange keep the order that its input declares while the
//! files of the exchange are several sorted runs one behind the other, which a join that merges in
//! time order must not be given. It plans logical plans only, and this client sends physical ones, and
//! refuses queries where it is turned on. For clients that send logical plans it is off; a session that
//! turns it on is warned of in the log.

#[cfg(feature = "server")]
use std::sync::Arc;

use ballista_core::extension::SessionConfigExt;
use datafusion::prelude::SessionConfig;
use datafusion_asof::AsOfOptions;

/// The settings that a scheduler or an executor starts from.
pub fn session_config() -> SessionConfig {
    with_cluster(SessionConfig::new_with_ballista().with_information_schema(true))
}

/// The same settings, for plans that run on a cluster.
pub fn with_cluster(config: SessionConfig) -> SessionConfig {
    let options = config.options().extensions.get::<AsOfOptions>();
    let options = AsOfOptions {
        distributed: true,
        ..options.cloned().unwrap_or_default()
    };
    config
        .upgrade_for_ballista()
        .with_option_extension(options)
        .with_ballista_adaptive_query_planner(false)
        .with_ballista_logical_extension_codec(crate::codec::logical_codec())
        .with_ballista_physical_extension_codec(crate::codec::physical_codec())
        .with_prefer_existing_sort(false)
}

/// What a session that turns the adaptive planner on is told.
#[cfg(feature = "server")]
pub(crate) fn warn_of_adaptive_planner(config: &SessionConfig) {
    if config.ballista_adaptive_query_planner_enabled() {
        log::warn!(
            "ballista.planner.adaptive.enabled = true: the adaptive planner chooses no strategy for \
             as-of joins and may give them rows out of order; set it to false"
        );
    }
}

/// A producer of [`session_config`], as Ballista's processes take it.
#[cfg(feature = "server")]
pub(crate) fn producer() -> Arc<dyn Fn() -> SessionConfig + Send + Sync> {
    Arc::new(session_config)
}
