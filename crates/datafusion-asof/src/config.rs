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
    /// `asof.broadcast_threshold`: the largest right side, in bytes, that is broadcast under
    /// `auto`. Written as a number of bytes or with a unit, as in `'32 MB'`.
    pub broadcast_threshold: usize,
    /// `asof.bare_join`: what `ASOF JOIN` without a kind is.
    pub bare_join: BareJoin,
}

impl Default for AsOfOptions {
    fn default() -> Self {
        Self {
            strategy: StrategyOption::Auto,
            broadcast_threshold: 128 << 20,
            bare_join: BareJoin::Dialect,
        }
    }
}

/// Values of `asof.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrategyOption {
    /// Chosen from statistics.
    Auto,
    /// Always broadcast.
    Broadcast,
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

words!(StrategyOption, "strategy", "auto" => Auto, "broadcast" => Broadcast, "sort_merge" => SortMerge);
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
            "broadcast_threshold" => self.broadcast_threshold = parse_bytes(value)?,
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
                "How as-of joins execute: auto, broadcast or sort_merge",
            ),
            entry(
                "broadcast_threshold",
                self.broadcast_threshold.to_string(),
                "The largest right side, in bytes, that is broadcast under asof.strategy = auto",
            ),
            entry(
                "bare_join",
                self.bare_join.to_string(),
                "What ASOF JOIN without a kind is: dialect, inner or left",
            ),
        ]
    }
}

fn parse_bytes(text: &str) -> Result<usize> {
    let trimmed = text.trim();
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
        Some(bytes) => Ok(bytes),
        None => config_err!(
            "asof.broadcast_threshold is a number of bytes, as in 1048576 or '32 MB', not '{text}'"
        ),
    }
}
