//! `join_asof`: the as-of join without SQL.

use datafusion::common::Result;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction_owned;

use super::builder::{AsOfJoinBuilder, Condition, Kind, Located};
use crate::spec::AsOfJoinType;

/// What [`DataFrameAsOfExt::join_asof`] joins on.
///
/// ```
/// use datafusion::prelude::{col, lit};
/// use datafusion_asof::{AsOfJoinOptions, AsOfJoinType};
///
/// let options = AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts")))
///     .on(vec![col("t.sym").eq(col("q.sym"))])
///     .tolerance(lit("5 seconds"))
///     .join_type(AsOfJoinType::Inner);
/// ```
#[derive(Debug, Clone)]
pub struct AsOfJoinOptions {
    match_condition: Expr,
    on: Vec<Expr>,
    tolerance: Option<Expr>,
    join_type: AsOfJoinType,
}

impl AsOfJoinOptions {
    /// A left join on a comparison with `>=`, `>`, `<=` or `<` of an expression of the left
    /// side with one of the right, in either order.
    pub fn new(match_condition: Expr) -> Self {
        Self {
            match_condition,
            on: vec![],
            tolerance: None,
            join_type: AsOfJoinType::Left,
        }
    }

    /// Equalities of the two sides, and predicates on the right side alone, which filter its
    /// rows before the nearest is chosen. Replaces earlier ones.
    #[must_use]
    pub fn on(mut self, on: Vec<Expr>) -> Self {
        self.on = on;
        self
    }

    /// The farthest distance, inclusive, at which a match counts: a constant interval,
    /// duration or text like `'5 seconds'` for temporal as-of values, otherwise a number.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Expr) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Which rows come out; [`AsOfJoinType::Left`] unless told otherwise.
    #[must_use]
    pub fn join_type(mut self, join_type: AsOfJoinType) -> Self {
        self.join_type = join_type;
        self
    }
}

/// As-of joins of data frames.
pub trait DataFrameAsOfExt: Sized {
    /// Attaches to each row of `self` the nearest row in time of `right`.
    ///
    /// The columns of `self` come first, then those of `right`, NULL where a left join finds
    /// no match. NULL keys and NULL or NaN as-of values never match. The session of `self`
    /// must have been made with [`WithAsOf`](crate::WithAsOf).
    ///
    /// # Errors
    /// Planning errors for a condition that is no comparison of the two sides, unknown or
    /// ambiguous columns, as-of values that cannot be compared, and a tolerance that is
    /// negative, NULL, not constant or does not fit them.
    ///
    /// ```
    /// # use datafusion::error::Result;
    /// use datafusion::prelude::{SessionContext, col};
    /// use datafusion_asof::{AsOfJoinOptions, DataFrameAsOfExt, WithAsOf};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let ctx = SessionContext::new().with_asof();
    /// let trades = ctx.sql("SELECT * FROM (VALUES (3), (7)) AS t(ts)").await?;
    /// let quotes = ctx.sql("SELECT * FROM (VALUES (1, 'a'), (5, 'b')) AS q(ts, bid)").await?;
    /// let joined = trades.join_asof(
    ///     quotes,
    ///     AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts"))),
    /// )?;
    /// assert_eq!(joined.count().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    fn join_asof(self, right: DataFrame, options: AsOfJoinOptions) -> Result<Self>;
}

impl DataFrameAsOfExt for DataFrame {
    fn join_asof(self, right: DataFrame, options: AsOfJoinOptions) -> Result<Self> {
        let (state, left) = self.into_parts();
        let kind = Kind::Written(options.join_type);
        let mut builder = AsOfJoinBuilder::new(left, right.into_unoptimized_plan(), kind);
        let condition = Condition::Predicate(options.match_condition);
        builder.match_condition = Some(Located::nowhere(condition));
        let on = options.on.into_iter().flat_map(split_conjunction_owned);
        let on = on.map(|conjunct| Located::nowhere(Condition::Predicate(conjunct)));
        builder.on = on.collect();
        builder.tolerance = options.tolerance.map(Located::nowhere);
        Ok(Self::new(state, builder.build()?))
    }
}
