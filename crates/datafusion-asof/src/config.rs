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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOfOptions {
    /// `asof.strategy`: how as-of joins execute; `auto` chooses from statistics.
    pub strategy: StrategyOption,
    /// `asof.broadcast_threshold`: the largest side with its index, in bytes, that is
    /// broadcast under `auto`. Written as a number of bytes or with a unit, as in `'32 MB'`;
    /// `auto`, the default and here `None`, is half of the memory pool, and any size if the
    /// pool has no limit.
    pub broadcast_threshold: Option<usize>,
    /// `asof.bare_join`: what `ASOF JOIN` without a kind is.
    pub bare_join: BareJoin,
}

impl Default for AsOfOptions {
    fn default() -> Self {
        Self {
            strategy: StrategyOption::Auto,
            broadcast_threshold: None,
            bare_join: BareJoin::Dialect,
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

words!(StrategyOption, "strategy", "auto" => Auto, "broadcast" => Broadcast, "broadcast_left" => BroadcastLeft, "sort_merge" => SortMerge);
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
            _ => {
                return config_err!(
                    "there is no option asof.{key}: there are asof.strategy, \
                     asof.broadcast_threshold and asof.bare_join"
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
                "How as-of joins execute: auto, broadcast, broadcast_left or sort_merge",
            ),
            entry(
                "broadcast_threshold",
                self.broadcast_threshold
                    .map_or_else(|| AUTO.to_owned(), |bytes| bytes.to_string()),
                "The largest right side with its index, in bytes, that is broadcast under \
                 asof.strategy = auto; auto: half of the memory pool",
            ),
            entry(
                "bare_join",
                self.bare_join.to_string(),
                "What ASOF JOIN without a kind is: dialect, inner or left",
            ),
        ]
    }
}

/// Stands for no threshold.
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
