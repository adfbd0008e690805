//! Object stores of schedulers and executors: local files, `http(s)://`, and `s3://` by the `AWS_…`
//! variables of the process.
//!
//! Ballista's own registry makes a store anew for each file that is opened, with connections and credentials
//! of its own, and takes secrets from the settings of sessions, which are logged. This one keeps stores for as
//! long as the process lives, knows the secrets of the process alone, and says what to do where there are none.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use datafusion::object_store::http::HttpBuilder;
use datafusion::object_store::{self, ClientOptions, CredentialProvider, ObjectStore};
use url::Url;

/// What is known of stores so far.
#[derive(Debug, Default)]
pub(crate) struct Stores(DefaultObjectStoreRegistry);

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.0.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(store) = self.0.get_store(url) {
            return Ok(store);
        }
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "http" | "https" => Arc::new(
                HttpBuilder::new()
                    .with_client_options(ClientOptions::new().with_allow_http(true))
                    .with_url(url.origin().ascii_serialization())
                    .build()?,
            ),
            "s3" => s3(url)?,
            _ => {
                return exec_err!(
                    "executors cannot read {url}: they know local files, http://, https:// and s3://"
                );
            }
        };
        self.0.register_store(url, Arc::clone(&store));
        Ok(store)
    }
}

fn s3(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    let bucket = url.host_str();
    let bucket = bucket.ok_or_else(|| exec_datafusion_err!("{url} names no bucket"))?;
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let credentials = Arc::clone(store.clone().build()?.credentials());
    let store = store.with_credentials(Arc::new(Credentials(credentials)));
    Ok(Arc::new(store.build()?))
}

/// Credentials, or what to do where there are none.
#[derive(Debug)]
struct Credentials(AwsCredentialProvider);

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credential = self.0.get_credential().await;
        credential.map_err(|why| object_store::Error::Generic {
            store: "S3",
            source: format!(
                "an executor has no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the \
                 environment of each, or AWS_SKIP_SIGNATURE=true to read what is public ({why})"
            )
            .into(),
        })
    }
}
