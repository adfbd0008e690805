//! [`Cluster`]: the client's side.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{
    Result, config_datafusion_err, config_err, exec_datafusion_err, exec_err,
};
use tonic::transport::{Channel, Endpoint};
use url::Url;

use crate::progress::{Observer, Progress};
use crate::rest::executors;

/// How long a scheduler may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where schedulers listen unless told otherwise.
const PORT: u16 = 50050;

/// A cluster whose scheduler has answered.
#[derive(Clone)]
pub struct Cluster {
    /// Of the scheduler, `http://host:port`.
    pub(crate) address: String,
    pub(crate) channel: Channel,
    pub(crate) observer: Option<Observer>,
    vcores: usize,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address, vcores, ..
        } = self;
        write!(f, "Cluster({address}, {vcores} vcores)")
    }
}

impl Cluster {
    /// The cluster of the scheduler at `df://host:port`.
    ///
    /// # Errors
    /// If the address is none, if no scheduler answers there within seconds, or if it has no executors.
    pub async fn connect(url: &str) -> Result<Self> {
        let address = address(url)?;
        let unreachable = |why: &dyn fmt::Display| {
            exec_datafusion_err!(
                "no scheduler answers at {url} ({why}): check host and port, or start one with \
                 asof-scheduler"
            )
        };
        let endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| config_datafusion_err!("{url} is no address: {error}"))?
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true);
        let channel = match tokio::time::timeout(PATIENCE, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unreachable(&root_cause(&error))),
            Err(_) => return Err(unreachable(&"it takes too long")),
        };
        let vcores = match tokio::time::timeout(PATIENCE, executors(&channel, &address)).await {
            Ok(Ok(vcores)) => vcores,
            Ok(Err(error)) => return Err(unreachable(&error.message())),
            Err(_) => return Err(unreachable(&"it does not tell of its executors")),
        };
        if vcores.is_empty() {
            return exec_err!(
                "the cluster at {url} has no executors: start them with asof-executor, by the scheduler's \
                 policy (--scheduler-policy there, --task-scheduling-policy here), and wait for them to \
                 register"
            );
        }
        Ok(Self {
            address,
            channel,
            observer: None,
            vcores: vcores.iter().sum::<usize>().max(1),
        })
    }

    /// The same cluster; about once a second the observer is told how far a query is, and `None` when
    /// it has ended.
    pub fn with_observer(
        self,
        observer: impl Fn(Option<Progress>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            observer: Some(Arc::new(observer)),
            ..self
        }
    }

    /// How many partitions the executors work at together, when the cluster was connected to.
    pub fn vcores(&self) -> usize {
        self.vcores
    }
}

fn address(url: &str) -> Result<String> {
    // What may have a secret in it is not shown.
    let shown = match url.contains(['@', '?', '#']) {
        true => "this",
        false => url,
    };
    let wrong = || format!("{shown} is no address of a cluster: write df://host:port");
    let parsed =
        Url::parse(url).map_err(|error| config_datafusion_err!("{} ({error})", wrong()))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return config_err!("a cluster knows no users and passwords: write df://host:port");
    }
    let rest = matches!(parsed.path(), "" | "/")
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    match parsed.host_str() {
        Some(host) if parsed.scheme() == "df" && rest && !host.is_empty() => {
            Ok(format!("http://{host}:{}", parsed.port().unwrap_or(PORT)))
        }
        _ => config_err!("{}", wrong()),
    }
}

/// The innermost error, which says what happened.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("df://node7", Some("http://node7:50050")),
            ("df://127.0.0.1:9/", Some("http://127.0.0.1:9")),
            ("df://[::1]:9", Some("http://[::1]:9")),
            ("http://node7", None),
            ("df:node7", None),
            ("df://node7/path", None),
            ("df://node7?a=b", None),
            ("df://node7#a", None),
            ("df://user:SECRET@node7", None),
            ("df://SECRET@node7", None),
            ("df://user:SECRET@node7:99999", None),
            ("df://user:SEC/SECRET@node7:9", None),
            ("user:SECRET@node7:9", None),
            ("df://node7:9?token=SECRET", None),
            ("node7:50050", None),
            ("", None),
        ];
        for (url, expected) in table {
            let address = address(url);
            assert_eq!(address.as_deref().ok(), expected, "{url}");
            if let Err(error) = address {
                let error = error.to_string();
                assert!(error.contains("write df://host:port"), "{error}");
                assert!(!error.contains("SECRET"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let error = Cluster::connect(&format!("df://127.0.0.1:{port}")).await;
        let error = error.expect_err("nobody listens").to_string();
        assert!(
            error.contains("no scheduler answers at df://127.0.0.1:"),
            "{error}"
        );
        assert!(error.contains("asof-scheduler"), "{error}");
    }

    #[tokio::test]
    async fn somebody_who_says_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let error = Cluster::connect(&format!("df://127.0.0.1:{port}")).await;
        let error = error.expect_err("nothing is said").to_string();
        assert!(error.contains("no scheduler answers at"), "{error}");
        drop(listener);
    }
}
