//! What schedulers and executors log, by Ballista's flags.

use ballista_core::config::LogRotationPolicy;
use tracing_appender::rolling;
use tracing_subscriber::EnvFilter;

/// The flags about logs.
pub(crate) struct Logging<'a> {
    /// Unless `RUST_LOG` says otherwise.
    pub level: &'a str,
    pub threads: bool,
    /// Standard output without one.
    pub directory: Option<&'a str>,
    pub rotation: LogRotationPolicy,
    pub prefix: String,
}

/// Logs from now on.
pub(crate) fn start(logging: Logging<'_>) {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV);
    let filter = EnvFilter::new(filter.unwrap_or_else(|_| logging.level.to_owned()));
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_thread_names(logging.threads)
        .with_thread_ids(logging.threads)
        .with_env_filter(filter);
    let Some(directory) = logging.directory else {
        return subscriber.init();
    };
    let prefix = logging.prefix;
    subscriber
        .with_writer(match logging.rotation {
            LogRotationPolicy::Minutely => rolling::minutely(directory, prefix),
            LogRotationPolicy::Hourly => rolling::hourly(directory, prefix),
            LogRotationPolicy::Daily => rolling::daily(directory, prefix),
            LogRotationPolicy::Never => rolling::never(directory, prefix),
        })
        .init();
}
