//! The configurations every file must agree under.
//!
//! Those of a cluster are tried where one is named by the environment variable [`CLUSTER`].

use std::fmt;
use std::path::Path;

/// Names a cluster, such as `df://127.0.0.1:50050`.
pub const CLUSTER: &str = "ASOF_CLUSTER";

/// How a session executes: the strategy it is forced to, its partitions and its batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether queries run on the cluster that [`CLUSTER`] names.
    pub on_cluster: bool,
    /// The value of `asof.strategy`.
    pub strategy: &'static str,
    /// The value of `datafusion.execution.target_partitions`.
    pub partitions: usize,
    /// The value of `datafusion.execution.batch_size`.
    pub batch_size: usize,
}

/// The planner's own choice, with a fixed number of partitions so that plans do not depend on
/// how many cores the machine has.
const AUTO: Profile = Profile::new("auto", 4, 8192);

/// The profile that `--complete` writes from; the others must then agree.
pub(crate) const REFERENCE: Profile = Profile::new("sort_merge", 1, 8192);

const ALL: [Profile; 12] = [
    REFERENCE,
    Profile::new("sort_merge", 1, 2),
    Profile::new("sort_merge", 4, 8192),
    Profile::new("sort_merge", 4, 2),
    Profile::new("broadcast", 1, 8192),
    Profile::new("broadcast", 1, 2),
    Profile::new("broadcast", 4, 8192),
    Profile::new("broadcast", 4, 2),
    Profile::new("broadcast_left", 1, 2),
    Profile::new("broadcast_left", 4, 8192),
    Profile::new("time_salted", 4, 2),
    Profile::new("time_salted", 4, 8192),
];

const ON_CLUSTER: [Profile; 3] = [
    Profile::new("sort_merge", 4, 8192).on_cluster(),
    Profile::new("broadcast", 4, 8192).on_cluster(),
    Profile::new("time_salted", 4, 8192).on_cluster(),
];

/// Folders whose files pin plan texts, or set the strategy themselves; they run once.
const AUTO_FOLDERS: [&str; 1] = ["plans"];

impl Profile {
    const fn new(strategy: &'static str, partitions: usize, batch_size: usize) -> Self {
        Self {
            on_cluster: false,
            strategy,
            partitions,
            batch_size,
        }
    }

    const fn on_cluster(self) -> Self {
        Self {
            on_cluster: true,
            ..self
        }
    }

    /// The options of the session. Under `time_salted` every key is cut, into more ranges than
    /// there are partitions, so that tables of a few rows meet the edges of ranges. Partitions
    /// index their right rows; in small batches, where edges matter more, both sides are merged.
    pub(crate) fn settings(self) -> Vec<(&'static str, String)> {
        let mut settings = vec![("asof.strategy", self.strategy.to_string())];
        if self.on_cluster {
            // Not as many as the executors have cores.
            let partitions = self.partitions.to_string();
            settings.push(("datafusion.execution.target_partitions", partitions));
        }
        if self.strategy == "time_salted" {
            settings.push(("asof.skew_threshold", "0".to_string()));
            settings.push(("asof.salt_ranges", "5".to_string()));
            if self.batch_size == 2 {
                settings.push(("asof.broadcast_threshold", "0".to_string()));
            }
        }
        settings
    }

    /// What `onlyif` and `skipif` may name.
    pub(crate) fn labels(self) -> [String; 5] {
        let place = match self.on_cluster {
            true => "cluster",
            false => "one_machine",
        };
        [
            place.to_string(),
            self.strategy.to_string(),
            format!("partitions_{}", self.partitions),
            format!("batch_{}", self.batch_size),
            self.to_string(),
        ]
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == AUTO {
            return f.write_str(self.strategy);
        }
        if self.on_cluster {
            f.write_str("cluster_")?;
        }
        write!(
            f,
            "{}_{}x{}",
            self.strategy, self.partitions, self.batch_size
        )
    }
}

/// The profiles that `file` (relative to the corpus) runs under, the reference first.
pub fn profiles_of(file: &Path) -> &'static [Profile] {
    if AUTO_FOLDERS.iter().any(|folder| file.starts_with(folder)) {
        &[AUTO]
    } else {
        &ALL
    }
}

/// The profiles that `file` runs under on a cluster.
pub fn cluster_profiles_of(file: &Path) -> &'static [Profile] {
    match profiles_of(file) {
        [AUTO] => &[],
        _ => &ON_CLUSTER,
    }
}
