//! Opens object stores, one per bucket, and hands the same one to Delta, to plans and to file listings.
//!
//! Credentials come in as options and go only into the stores: nothing here prints a value.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use datafusion::execution::runtime_env::RuntimeEnv;
use model::code::Code;
use object_store::{
    ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    client::SpawnedReqwestConnector,
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    memory::InMemory,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use url::{Position, Url};

use crate::{error::LakeError, local_files::LocalFiles};

/// Schemes that a location may have.
pub(crate) const SCHEMES: &str = "file, s3, s3a, gs, az, abfs, abfss";

/// Requests that fail are repeated for this long before the store counts as out of reach.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// More often than fits into that time, which is what ends the tries.
const RETRIES_MAX: usize = 1_000;

/// Puts another store in front of each store that is opened.
pub(crate) type Wrap = Arc<dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync>;

/// The open stores.
pub(crate) struct Stores {
    options: BTreeMap<String, String>,
    io: Handle,
    wrap: Option<Wrap>,
    open: Mutex<HashMap<String, Opened>>,
}

struct Opened {
    root: Url,
    store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<String> = self.open.lock().keys().cloned().collect();
        f.debug_struct("Stores").field("open", &open).finish_non_exhaustive()
    }
}

impl Stores {
    /// Checks the names of all options; opens nothing.
    pub(crate) fn new(
        options: BTreeMap<String, String>,
        io: Handle,
        wrap: Option<Wrap>,
    ) -> Result<Self, LakeError> {
        for key in options.keys() {
            let lower = key.to_ascii_lowercase();
            let known = AmazonS3ConfigKey::from_str(&lower).is_ok()
                || AzureConfigKey::from_str(&lower).is_ok()
                || GoogleConfigKey::from_str(&lower).is_ok()
                || ClientConfigKey::from_str(&lower).is_ok();
            if !known {
                let why = "is no option of any store; write for example aws_access_key_id, \
                           azure_storage_account_name or google_service_account";
                return Err(LakeError::Option {
                    key: format!("storage.{key}"),
                    why: why.to_owned(),
                });
            }
        }
        Ok(Self { options, io, wrap, open: Mutex::new(HashMap::new()) })
    }

    /// The store that holds `url`, opened at its first use. Paths in it start at the bucket.
    pub(crate) fn get(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, LakeError> {
        let key = store_key(url);
        let mut open = self.open.lock();
        if let Some(opened) = open.get(&key) {
            // Plans look a store up by scheme and host only, so two containers of one Azure
            // account would be taken for each other.
            if opened.root.username() != url.username() {
                return Err(LakeError::Location {
                    text: url.to_string(),
                    why: format!(
                        "container '{}' of the same account is in use; one container per account is possible, \
                         write the other one as az://container/path",
                        opened.root.username()
                    ),
                });
            }
            return Ok(Arc::clone(&opened.store));
        }
        let mut root = url.clone();
        root.set_path("/");
        let mut store = self.build(&root)?;
        if let Some(wrap) = &self.wrap {
            store = wrap(store);
        }
        open.insert(key, Opened { root, store: Arc::clone(&store) });
        Ok(store)
    }

    /// Makes every open store known to plans that run in `env`.
    pub(crate) fn register(&self, env: &RuntimeEnv) {
        for opened in self.open.lock().values() {
            env.register_object_store(&opened.root, Arc::clone(&opened.store));
        }
    }

    fn build(&self, root: &Url) -> Result<Arc<dyn ObjectStore>, LakeError> {
        // Nothing was sent yet, so what fails here is how the store is configured.
        let failed = |source: object_store::Error| LakeError::Store {
            operation: "configure the object store",
            location: root.to_string(),
            source: Arc::new(source),
            code: Code::InvalidArgument,
        };
        let connector = SpawnedReqwestConnector::new(self.io.clone());
        let retry = RetryConfig {
            retry_timeout: RETRY_FOR,
            max_retries: RETRIES_MAX,
            ..RetryConfig::default()
        };
        match root.scheme() {
            "file" => Ok(Arc::new(LocalFiles::new())),
            "memory" => Ok(Arc::new(InMemory::new())),
            "s3" | "s3a" => {
                let mut builder = AmazonS3Builder::new()
                    .with_url(root.as_str())
                    .with_conditional_put(S3ConditionalPut::ETagMatch)
                    .with_retry(retry)
                    .with_http_connector(connector);
                for (key, value) in self.options_of::<AmazonS3ConfigKey>() {
                    builder = builder.with_config(key, value);
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            "gs" => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_url(root.as_str())
                    .with_retry(retry)
                    .with_http_connector(connector);
                for (key, value) in self.options_of::<GoogleConfigKey>() {
                    builder = builder.with_config(key, value);
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            "az" | "abfs" | "abfss" => {
                let mut builder = MicrosoftAzureBuilder::new()
                    .with_url(root.as_str())
                    .with_retry(retry)
                    .with_http_connector(connector);
                for (key, value) in self.options_of::<AzureConfigKey>() {
                    builder = builder.with_config(key, value);
                }
                Ok(Arc::new(builder.build().map_err(failed)?))
            }
            other => Err(LakeError::Location {
                text: root.to_string(),
                why: format!("scheme '{other}' is not known; use one of {SCHEMES}"),
            }),
        }
    }

    /// The options that the store of this kind knows.
    fn options_of<K: FromStr>(&self) -> impl Iterator<Item = (K, String)> {
        self.options.iter().filter_map(|(key, value)| {
            Some((K::from_str(&key.to_ascii_lowercase()).ok()?, value.clone()))
        })
    }
}

/// What tells stores apart, here and in plans: scheme, host and port.
pub(crate) fn store_key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}
