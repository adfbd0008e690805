//! `join_asof`: the as-of join without SQL.

use datafusion::common::{Result, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, SortExpr};

use super::builder::{AsOfJoinBuilder, Condition, Kind, Located};
use super::right_columns::{FillNull, RightColumns};
use crate::spec::{AsOfJoinType, NullPolicy};

/// What [`DataFrameAsOfExt::join_asof`] joins on, and what its right columns look like.
///
/// ```
/// use datafusion::prelude::{col, lit};
/// use datafusion_asof::{AsOfJoinOptions, AsOfJoinType};
///
/// let options = AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts")))
///     .on(vec![col("t.sym").eq(col("q.sym"))])
///     .tolerance(lit("5 seconds"))
///     .ties_by(vec![col("q.seq").sort(false, false)])
///     .join_type(AsOfJoinType::Inner);
/// ```
#[derive(Debug, Clone)]
pub struct AsOfJoinOptions {
    match_condition: Condition,
    on: Vec<Expr>,
    using: Vec<String>,
    tolerance: Option<Expr>,
    join_type: AsOfJoinType,
    ties: Vec<SortExpr>,
    null_policy: NullPolicy,
    right_columns: RightColumns,
}

impl AsOfJoinOptions {
    /// A left join on a comparison with `>=`, `>`, `<=` or `<` of an expression of the left
    /// side with one of the right, in either order.
    pub fn new(match_condition: Expr) -> Self {
        Self::on_time(Condition::Predicate(match_condition))
    }

    /// A left join with the right row that is nearest in time, before or after; of two equally
    /// near the earlier.
    ///
    /// ```
    /// use datafusion::prelude::col;
    /// use datafusion_asof::AsOfJoinOptions;
    ///
    /// let options = AsOfJoinOptions::nearest(col("t.ts"), col("q.ts"));
    /// ```
    pub fn nearest(left: Expr, right: Expr) -> Self {
        Self::on_time(Condition::Nearest(left, right))
    }

    fn on_time(match_condition: Condition) -> Self {
        Self {
            match_condition,
            on: vec![],
            using: vec![],
            tolerance: None,
            join_type: AsOfJoinType::Left,
            ties: vec![],
            null_policy: NullPolicy::default(),
            right_columns: RightColumns::default(),
        }
    }

    /// Equalities of the two sides, which are keys, and any other predicates, which a right
    /// row must satisfy to be a candidate. Replaces earlier ones.
    #[must_use]
    pub fn on(mut self, on: Vec<Expr>) -> Self {
        self.on = on;
        self
    }

    /// Columns that both sides have under one name: equal in a match, and once in the output,
    /// where the left column stands. Replaces earlier ones.
    ///
    /// ```
    /// use datafusion::prelude::col;
    /// use datafusion_asof::AsOfJoinOptions;
    ///
    /// let options = AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts")))
    ///     .using(vec!["sym".to_owned()]);
    /// ```
    #[must_use]
    pub fn using(mut self, columns: Vec<String>) -> Self {
        self.using = columns;
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

    /// Of right rows equal in keys and time the first in this order is chosen. Without it,
    /// and among rows equal in this too, their order in the right input decides.
    #[must_use]
    pub fn ties_by(mut self, ties: Vec<SortExpr>) -> Self {
        self.ties = ties;
        self
    }

    /// What NULLs in right columns mean; [`NullPolicy::IgnoreNulls`] gives each right column
    /// its own nearest value that is not NULL.
    #[must_use]
    pub fn null_policy(mut self, null_policy: NullPolicy) -> Self {
        self.null_policy = null_policy;
        self
    }

    /// Put before the names of right columns whose names the left has too.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.right_columns.prefix = Some(prefix.into());
        self
    }

    /// Put behind the names of right columns whose names the left has too.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.right_columns.suffix = Some(suffix.into());
        self
    }

    /// Puts `value` in the place of NULL in right columns, whether the value is NULL or there
    /// is no match. `columns` names them, as they are named in the right frame; an empty list
    /// means all right columns to whose type `value` can be cast.
    ///
    /// ```
    /// use datafusion::prelude::col;
    /// use datafusion::scalar::ScalarValue;
    /// use datafusion_asof::AsOfJoinOptions;
    ///
    /// let options = AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts")))
    ///     .suffix("_right")
    ///     .fill_null(ScalarValue::from(0), vec!["bid".to_owned()]);
    /// ```
    #[must_use]
    pub fn fill_null(mut self, value: ScalarValue, columns: Vec<String>) -> Self {
        self.right_columns.fill.push(FillNull { value, columns });
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
    /// ambiguous columns, as-of values that cannot be compared, a tolerance that is negative,
    /// NULL, not constant or does not fit them, columns to be filled that the right has not,
    /// and names that clash even with the prefix or suffix.
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
    ///     AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts"))).suffix("_quote"),
    /// )?;
    /// assert_eq!(joined.schema().field_names(), ["t.ts", "ts_quote", "q.bid"]);
    /// assert_eq!(joined.count().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    fn join_asof(self, right: DataFrame, options: AsOfJoinOptions) -> Result<Self>;
}

impl DataFrameAsOfExt for DataFrame {
    fn join_asof(self, right: DataFrame, options: AsOfJoinOptions) -> Result<Self> {
        let (state, left) = self.into_parts();
        let left_columns = left.schema().fields().len();
        let kind = Kind::Written(options.join_type);
        let mut builder = AsOfJoinBuilder::new(left, right.into_unoptimized_plan(), kind);
        builder.match_condition = Some(Located::nowhere(options.match_condition));
        let on = options.on.into_iter().flat_map(split_conjunction_owned);
        let on = on.map(|conjunct| Located::nowhere(Condition::Predicate(conjunct)));
        builder.on = on.collect();
        builder.using = options.using.into_iter().map(Located::nowhere).collect();
        builder.tolerance = options.tolerance.map(Located::nowhere);
        builder.ties = options.ties.into_iter().map(Located::nowhere).collect();
        builder.null_policy = options.null_policy;
        let plan = options
            .right_columns
            .apply(builder.build()?, left_columns)?;
        Ok(Self::new(state, plan))
    }
}
