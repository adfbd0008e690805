//! Installing the extension into a session: nothing else installs anything.
//!
//! | what | where | why there |
//! |---|---|---|
//! | options `asof.*` | session config | |
//! | [`AsOfRelationPlanner`] | first relation planner | sees parenthesised as-of joins first |
//! | [`AsOfPushDownFilter`] | in the place of `push_down_filter` | DataFusion's rule would misplace filters |
//! | [`AsOfPushDownLimit`] | behind `push_down_limit` | a LIMIT needs no more left rows than that |
//! | [`AsOfQueryPlanner`] | query planner | in the place of DataFusion's default one |
//! | table function `asof_skew` | session | |
//! | [`AsOfJoinSelection`] | before `EnsureRequirements` | inputs are final, exchanges not yet added |
//!
//! What a session had stays; installing twice changes nothing.

use std::ops::Deref;
use std::sync::Arc;

use datafusion::catalog::TableFunction;
use datafusion::common::Result;
use datafusion::dataframe::DataFrame;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionContext;

use crate::config::AsOfOptions;
use crate::optimizer::{AsOfPushDownFilter, AsOfPushDownLimit};
use crate::planner::{ASOF_SKEW, AsOfJoinSelection, AsOfQueryPlanner, AsOfSkewFunction};
use crate::sql::{AsOfRelationPlanner, AsOfSql};

/// The rule before which the strategy is chosen.
const ENSURE_REQUIREMENTS: &str = "EnsureRequirements";

/// Adds as-of joins to a session.
pub trait WithAsOf: Sized {
    /// The same session with as-of joins: the SQL of [`AsOfSql`], `join_asof`, and the
    /// `asof.*` options. Rules, planners, functions and tables that are installed stay;
    /// installing twice changes nothing.
    ///
    /// On a builder call it last: what replaces the configuration, a list of rules or the
    /// relation planners afterwards takes it out again. On a context it makes a new context of
    /// the same session id and catalogs; clones of the old one stay without it, and statements
    /// prepared there are not known here.
    ///
    /// A query planner of the application's own stays too (unless it shows itself as
    /// `DefaultQueryPlanner`, like DataFusion's). It must plan as-of joins itself, with [`AsOfExtensionPlanner`](crate::AsOfExtensionPlanner).
    ///
    /// ```
    /// use datafusion::execution::session_state::SessionStateBuilder;
    /// use datafusion::prelude::SessionContext;
    /// use datafusion_asof::WithAsOf;
    ///
    /// let state = SessionStateBuilder::new().with_default_features().with_asof().build();
    /// let ctx = SessionContext::new_with_state(state);
    /// // or, for a context that is there already:
    /// let ctx = SessionContext::new().with_asof();
    /// ```
    #[must_use]
    fn with_asof(self) -> Self;
}

impl WithAsOf for SessionStateBuilder {
    fn with_asof(mut self) -> Self {
        let config = self.config().get_or_insert_default();
        if config.options().extensions.get::<AsOfOptions>().is_none() {
            config
                .options_mut()
                .extensions
                .insert(AsOfOptions::default());
        }
        let planners = self.relation_planners().get_or_insert_default();
        let installed = |planner: &Arc<dyn RelationPlanner>| {
            format!("{planner:?}") == format!("{AsOfRelationPlanner:?}")
        };
        if !planners.iter().any(installed) {
            planners.insert(0, Arc::new(AsOfRelationPlanner));
        }
        let logical = &mut self.optimizer().get_or_insert_with(Optimizer::new).rules;
        install_push_down_filter(logical);
        install_push_down_limit(logical);
        let query_planner = self.query_planner();
        if query_planner
            .as_ref()
            .is_none_or(AsOfQueryPlanner::can_replace)
        {
            *query_planner = Some(Arc::new(AsOfQueryPlanner));
        }
        let function = TableFunction::new(ASOF_SKEW.to_owned(), Arc::new(AsOfSkewFunction));
        let functions = self.table_functions().get_or_insert_default();
        let function = Arc::new(function);
        functions.entry(ASOF_SKEW.to_owned()).or_insert(function);
        let physical = self
            .physical_optimizers()
            .get_or_insert_with(PhysicalOptimizer::new);
        install_selection(&mut physical.rules);
        self
    }
}

fn install_push_down_filter(rules: &mut Vec<Arc<dyn OptimizerRule + Send + Sync>>) {
    for rule in rules.iter_mut() {
        let installed = format!("{rule:?}").starts_with("AsOfPushDownFilter");
        if rule.name() == AsOfPushDownFilter::NAME && !installed {
            *rule = Arc::new(AsOfPushDownFilter::new(Arc::clone(rule)));
        }
    }
}

fn install_push_down_limit(rules: &mut Vec<Arc<dyn OptimizerRule + Send + Sync>>) {
    let position = |name: &str| rules.iter().position(|rule| rule.name() == name);
    if position(AsOfPushDownLimit.name()).is_none()
        && let Some(before) = position(AsOfPushDownLimit::AFTER)
    {
        rules.insert(before + 1, Arc::new(AsOfPushDownLimit));
    }
}

fn install_selection(rules: &mut Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>) {
    let position = |name: &str| rules.iter().position(|rule| rule.name() == name);
    if position(AsOfJoinSelection.name()).is_none()
        && let Some(before) = position(ENSURE_REQUIREMENTS)
    {
        rules.insert(before, Arc::new(AsOfJoinSelection));
    }
}

impl WithAsOf for SessionContext {
    fn with_asof(self) -> Self {
        let state = SessionStateBuilder::new_from_existing(self.state())
            .with_session_id(self.session_id())
            .with_asof()
            .build();
        Self::new_with_state(state)
    }
}

/// A [`SessionContext`] of which [`sql`](Self::sql) takes as-of joins: an application
/// changes the constructor and nothing else.
///
/// ```
/// # use datafusion::error::Result;
/// use datafusion_asof::AsOfContext;
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let ctx = AsOfContext::new();
/// ctx.sql("CREATE TABLE t AS VALUES (3), (7)").await?;
/// let previous = ctx
///     .sql("SELECT * FROM t ASOF JOIN t AS p ON t.column1 > p.column1")
///     .await?;
/// assert_eq!(previous.count().await?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AsOfContext(SessionContext);

impl std::fmt::Debug for AsOfContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AsOfContext")
            .field(&self.0.session_id())
            .finish()
    }
}

impl AsOfContext {
    /// A context with default configuration.
    pub fn new() -> Self {
        Self::from(SessionContext::new())
    }

    /// Plans one statement as [`AsOfSql::asof_sql`] does.
    ///
    /// # Errors
    /// Those of [`AsOfSql::asof_sql`].
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        self.0.asof_sql(sql).await
    }
}

impl Default for AsOfContext {
    fn default() -> Self {
        Self::new()
    }
}

impl From<SessionContext> for AsOfContext {
    fn from(ctx: SessionContext) -> Self {
        Self(ctx.with_asof())
    }
}

impl Deref for AsOfContext {
    type Target = SessionContext;

    fn deref(&self) -> &SessionContext {
        &self.0
    }
}
