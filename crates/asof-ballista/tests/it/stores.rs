//! Files that the client reads from an object store and executors may not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::Result;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use url::Url;

use crate::data::{Data, join, shown};
use crate::process::LocalCluster;

const SECRET: &str = "wJalrXUtnFEMI-a-secret-of-the-executors";
/// How long it may take until a query has failed.
const SOON: Duration = Duration::from_secs(60);

/// A session with the tables in a bucket, which is a folder to this process alone.
async fn session(cluster: &LocalCluster, data: &Data) -> Result<SessionContext> {
    let ctx = cluster.session().await;
    let bucket = Url::parse("s3://bucket").expect("a URL");
    let folder = LocalFileSystem::new_with_prefix(data.path())?;
    ctx.register_object_store(&bucket, Arc::new(folder));
    for table in ["trades", "quotes"] {
        let path = format!("s3://bucket/{table}/");
        ctx.register_parquet(table, path, ParquetReadOptions::default())
            .await?;
    }
    Ok(ctx)
}

/// An address at which a server of S3 refuses everything, as long as the process lives.
fn forbidding_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let why = "<Error><Code>InvalidAccessKeyId</Code></Error>";
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{why}",
        why.len()
    );
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut request = [0; 4096];
            // Whatever it says.
            let _ = connection.read(&mut request);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_without_credentials() -> Result<()> {
    let mut cluster = LocalCluster::start(0).await;
    // The machine's own metadata, asked last, are where nobody answers.
    cluster.start_executor_with(&[("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")]);
    cluster.wait_for(1).await;
    let data = Data::write().await?;
    let ctx = session(&cluster, &data).await?;
    let started = Instant::now();
    let error = shown(&ctx, &join("LEFT", "TIES BY q.id")).await;
    let error = error.expect_err("nobody may read it").to_string();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(error.contains("set AWS_ACCESS_KEY_ID and"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_with_wrong_credentials_keep_them_to_themselves() -> Result<()> {
    let server = forbidding_server();
    let mut cluster = LocalCluster::start(0).await;
    cluster.start_executor_with(&[
        ("RUST_LOG", "trace"),
        ("AWS_ENDPOINT", &server),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]);
    cluster.wait_for(1).await;
    let data = Data::write().await?;
    let ctx = session(&cluster, &data).await?;
    let started = Instant::now();
    let error = shown(&ctx, &join("LEFT", "TIES BY q.id")).await;
    let error = error.expect_err("nobody may read it").to_string();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(error.contains("may not read a file"), "{error}");
    assert!(error.contains("environment"), "{error}");

    let logs = cluster.whole_logs();
    assert!(logs.contains(" TRACE ") && logs.contains("necessary privileges"));
    assert!(!error.contains(SECRET), "{error}");
    assert!(!logs.contains(SECRET), "{logs}");
    Ok(())
}
