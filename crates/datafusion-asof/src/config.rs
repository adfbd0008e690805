//! The `asof.*` options of a session.

use std::any::Any;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{DataFusionError, Result, config_err};

/// How as-of joins are planned; set by `SET asof.<option> = <value>`, shown by
/// `SHOW asof.<option>`.
///
/// ```
/// # use datafusion::error::Result;
/// use datafusion::prelude::SessionContext;
/// use datafusion_asof::{AsOfSql, WithAsOf};
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let ctx = SessionContext::new().with_asof();
/// ctx.asof_sql("SET asof.broadcast_threshold = '32 MB'").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AsOfOptions {
    /// `asof.strategy`: how as-of joins execute; `auto` chooses from statistics.
    pub strategy: StrategyOption,
    /// `asof.broadcast_threshold`: the largest side with its index, in bytes, that is
    /// broadcast under `auto`, and the largest share of one that a partition of a time-salted
    /// join indexes instead of having it sorted. Written as a number of bytes or with a unit, as
    /// in `'32 MB'`; `auto`, the default and here `None`, is half of the memory pool, and any
    /// size if the pool has no limit; for [`distributed`](Self::distributed) plans 100 MB.
    pub broadcast_threshold: Option<usize>,
    /// `asof.bare_join`: what `ASOF JOIN` without a kind is.
    pub bare_join: BareJoin,
    /// `asof.skew_threshold`: how much one key holds of a join that is time-salted under `auto`,
    /// measured in what each partition would hold if all held the same, or halfway from that to
    /// everything where that is less (1.5 of 2 partitions). Keys that hold a quarter of it are cut
    /// into ranges of time.
    pub skew_threshold: f64,
    /// `asof.skew_sample_rows`: about how many rows of each side are looked at while a join is planned
    /// that might be time-salted, to learn which keys hold how much; 0 for none.
    pub skew_sample_rows: usize,
    /// `asof.salt_ranges`: into how many ranges of time each such key is cut; `auto`, the default
    /// and here `None`, is by how much it holds.
    pub salt_ranges: Option<usize>,
    /// `asof.distributed`: whether plans are executed by tasks of a cluster, each of some of the
    /// partitions, with no memory in common. Set by the client of a cluster.
    pub distributed: bool,
}

impl Default for AsOfOptions {
    fn default() -> Self {
        Self {
            strategy: StrategyOption::Auto,
            broadcast_threshold: None,
            bare_join: BareJoin::Dialect,
            skew_threshold: 2.0,
            skew_sample_rows: 8192,
            salt_ranges: None,
            distributed: false,
        }
    }
}

/// Values of `asof.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrategyOption {
    /// Chosen from statistics.
    Auto,
    /// Always broadcast the right side.
    Broadcast,
    /// Broadcast the left side where the join allows it, else the right.
    BroadcastLeft,
    /// Always sort-merge.
    SortMerge,
    /// Cut hot keys into ranges of time where the join allows it, else sort-merge.
    TimeSalted,
}

/// Values of `asof.bare_join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareJoin {
    /// As where the form of the condition comes from: LEFT with `MATCH_CONDITION`
    /// (Snowflake), INNER with the condition in `ON` or `USING` (DuckDB, ClickHouse).
    Dialect,
    /// Always an inner join.
    Inner,
    /// Always a left join.
    Left,
}

macro_rules! words {
    ($type:ty, $option:literal, $($word:literal => $value:ident),+) => {
        impl Display for $type {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$value => $word),+ })
            }
        }

        impl FromStr for $type {
            type Err = DataFusionError;

            fn from_str(text: &str) -> Result<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$value),)+
                    _ => config_err!(
                        "asof.{} is one of {}, not '{text}'",
                        $option,
                        [$($word),+].join(", ")
                    ),
                }
            }
        }
    };
}

words!(StrategyOption, "strategy", "auto" => Auto, "broadcast" => Broadcast, "broadcast_left" => BroadcastLeft, "sort_merge" => SortMerge, "time_salted" => TimeSalted);
words!(BareJoin, "bare_join", "dialect" => Dialect, "inner" => Inner, "left" => Left);

impl AsOfOptions {
    /// The options of a session, or the defaults where the extension is not installed.
    pub(crate) fn of(config: &ConfigOptions) -> Self {
        let options: Option<&Self> = config.extensions.get();
        options.cloned().unwrap_or_default()
    }
}

impl ConfigExtension for AsOfOptions {
    const PREFIX: &'static str = "asof";
}

impl ExtensionOptions for AsOfOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "strategy" => self.strategy = value.parse()?,
            "broadcast_threshold" => self.broadcast_threshold = parse_threshold(value)?,
            "bare_join" => self.bare_join = value.parse()?,
            "skew_threshold" => self.skew_threshold = parse_skew_threshold(value)?,
            "skew_sample_rows" => self.skew_sample_rows = parse_sample_rows(value)?,
            "salt_ranges" => self.salt_ranges = parse_ranges(value)?,
            "distributed" => self.distributed = parse_distributed(value)?,
            _ => {
                return config_err!(
                    "there is no option asof.{key}: there are asof.strategy, \
                     asof.broadcast_threshold, asof.bare_join, asof.skew_threshold, \
                     asof.skew_sample_rows, asof.salt_ranges and asof.distributed"
                );
            }
        }
        Ok(())
    }

    // With the prefix, which `SHOW` compares in full.
    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: String, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description,
        };
        vec![
            entry(
                "strategy",
                self.strategy.to_string(),
                "How as-of joins execute: auto, broadcast, broadcast_left, sort_merge or \
                 time_salted",
            ),
            entry(
                "broadcast_threshold",
                self.broadcast_threshold
                    .map_or_else(|| AUTO.to_owned(), |bytes| bytes.to_string()),
                "The largest side with its index, in bytes, that is broadcast under \
                 asof.strategy = auto, or indexed by a partition of a time-salted join; auto: \
                 half of the memory pool, on a cluster 100 MB",
            ),
            entry(
                "bare_join",
                self.bare_join.to_string(),
                "What ASOF JOIN without a kind is: dialect, inner or left",
            ),
            entry(
                "skew_threshold",
                self.skew_threshold.to_string(),
                "How much one key holds of a join that is time-salted under asof.strategy = \
                 auto, in what each partition would hold if all held the same",
            ),
            entry(
                "skew_sample_rows",
                self.skew_sample_rows.to_string(),
                "About how many rows of each side are looked at while a join is planned, to learn \
                 of its skew; 0: none",
            ),
            entry(
                "salt_ranges",
                (self.salt_ranges).map_or_else(|| AUTO.to_owned(), |ranges| ranges.to_string()),
                "Ranges of time that a key which holds much is cut into; auto: by how much it \
                 holds",
            ),
            entry(
                "distributed",
                self.distributed.to_string(),
                "Whether plans are executed by tasks of a cluster; set by its client",
            ),
        ]
    }
}

/// Stands for what is left to the planner.
const AUTO: &str = "auto";

fn parse_threshold(text: &str) -> Result<Option<usize>> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case(AUTO) {
        return Ok(None);
    }
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let shift = match trimmed[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| digits.parse::<usize>().ok()?.checked_mul(1 << shift));
    match bytes {
        Some(bytes) => Ok(Some(bytes)),
        None => config_err!(
            "asof.broadcast_threshold is auto or a number of bytes, as in 1048576 or '32 MB', \
             not '{text}'"
        ),
    }
}

fn parse_skew_threshold(text: &str) -> Result<f64> {
    match text.trim().parse::<f64>() {
        Ok(threshold) if threshold >= 0.0 => Ok(threshold),
        _ => config_err!("asof.skew_threshold is a number from 0 on, as in 2.0, not '{text}'"),
    }
}

fn parse_sample_rows(text: &str) -> Result<usize> {
    (text.trim().parse())
        .or_else(|_| config_err!("asof.skew_sample_rows is a number of rows, not '{text}'"))
}

fn parse_ranges(text: &str) -> Result<Option<usize>> {
    match text.trim().parse::<usize>() {
        _ if text.trim().eq_ignore_ascii_case(AUTO) => Ok(None),
        Ok(ranges) if ranges > 0 => Ok(Some(ranges)),
        _ => config_err!("asof.salt_ranges is auto or a number from 1 on, not '{text}'"),
    }
}

fn parse_distributed(text: &str) -> Result<bool> {
    (text.trim().to_ascii_lowercase().parse())
        .or_else(|_| config_err!("asof.distributed is true or false, not '{text}'"))
}
