//! Places in the lake: turns texts into URLs and refuses whatever is outside the configured folders.
//!
//! It exists so that no statement can name a file of the server that is not part of the lake.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::{ObjectStore, path::Path, prefix::PrefixStore};
use url::Url;

use crate::{
    error::LakeError,
    stores::{SCHEMES, Stores, store_key},
};

/// A folder that everything else is inside of.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    url: Url,
    path: Path,
}

impl Root {
    /// From configuration. A local folder becomes absolute, with symbolic links followed.
    pub(crate) fn parse(key: &str, text: &str) -> Result<Self, LakeError> {
        let refused = |why: String| LakeError::Option { key: key.to_owned(), why };
        let here = std::env::current_dir()
            .ok()
            .and_then(|folder| Url::from_directory_path(folder).ok())
            .ok_or_else(|| {
                refused("the working folder is not known; write an absolute path".into())
            })?;
        let url = as_folder(&to_url(text, &here).map_err(|e| refused(e.to_string()))?);
        let path = path_of(&url).map_err(|e| refused(e.to_string()))?;
        Ok(Self { url, path })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The folder on this machine, if it is one.
    pub(crate) fn local(&self) -> Option<PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten()
    }

    /// Whether the place is the folder itself or inside it.
    pub(crate) fn contains(&self, url: &Url, path: &Path) -> bool {
        store_key(&self.url) == store_key(url)
            && self.url.username() == url.username()
            && path.prefix_matches(&self.path)
    }

    /// How many folders below this one the place is; `None` outside.
    pub(crate) fn depth(&self, url: &Url, path: &Path) -> Option<usize> {
        if !self.contains(url, path) {
            return None;
        }
        Some(path.parts().count() - self.path.parts().count())
    }
}

/// The folders that the lake may use.
#[derive(Debug)]
pub(crate) struct Roots {
    lake: Root,
    more: Vec<Root>,
}

impl Roots {
    /// From the configuration keys `lake.root` and `lake.locations`.
    pub(crate) fn parse(root: &str, locations: &[String]) -> Result<Self, LakeError> {
        let more = locations.iter().map(|text| Root::parse("lake.locations", text));
        Ok(Self { lake: Root::parse("lake.root", root)?, more: more.collect::<Result<_, _>>()? })
    }

    /// The folder that new tables come to.
    pub(crate) fn lake(&self) -> &Root {
        &self.lake
    }

    /// [`Roots::lake`] first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Root> {
        std::iter::once(&self.lake).chain(&self.more)
    }

    /// [`LakeError::OutsideRoots`] for a file or folder that is in none of them.
    pub(crate) fn check(&self, url: &Url) -> Result<(), LakeError> {
        let path = path_of(&as_folder(url))?;
        if self.all().any(|root| root.contains(url, &path)) {
            return Ok(());
        }
        Err(LakeError::OutsideRoots { location: url.to_string() })
    }
}

/// Turns a text into an absolute URL: known scheme, no `..`, symbolic links followed.
/// A relative path is relative to `base`.
pub(crate) fn to_url(text: &str, base: &Url) -> Result<Url, LakeError> {
    let text = text.trim();
    let refused = |why: &str| LakeError::Location { text: redacted(text), why: why.to_owned() };
    if text.is_empty() || text.contains('\0') {
        return Err(refused("write a path or a URL"));
    }
    let looks_like_url = text.contains("://") || text.starts_with("file:");
    if looks_like_url {
        let url = Url::parse(text).map_err(|e| refused(&e.to_string()))?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| refused("names another machine"))?;
            return local_url(text, &path, text.ends_with('/'));
        }
        return remote_url(text, url);
    }
    if FsPath::new(text).is_absolute() {
        return local_url(text, FsPath::new(text), text.ends_with('/'));
    }
    if base.scheme() == "file" {
        let folder = base.to_file_path().map_err(|()| refused("the lake's root is no path"))?;
        return local_url(text, &folder.join(text), text.ends_with('/'));
    }
    // A path and not a URL: these are signs of a name, or of a pattern.
    let path = text.replace('?', "%3F").replace('#', "%23");
    let joined = format!("{}{path}", as_folder(base));
    remote_url(text, Url::parse(&joined).map_err(|e| refused(&e.to_string()))?)
}

/// The path of `url` inside its store.
pub(crate) fn path_of(url: &Url) -> Result<Path, LakeError> {
    Path::from_url_path(url.path())
        .map_err(|e| LakeError::Location { text: url.to_string(), why: e.to_string() })
}

/// Refuses names that the Delta library would decode twice, and so look for in another place.
fn check_names(text: &str, path: &Path) -> Result<(), LakeError> {
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_ref().as_bytes();
    let encoded = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'%' && hex(bytes.get(at + 1)) && hex(bytes.get(at + 2)));
    if !encoded {
        return Ok(());
    }
    let why = "a folder's own name has '%' with two hexadecimal digits in it; rename it";
    Err(LakeError::Location { text: redacted(text), why: why.to_owned() })
}

/// The same URL with a trailing slash.
pub(crate) fn as_folder(url: &Url) -> Url {
    let mut folder = url.clone();
    if !folder.path().ends_with('/') {
        folder.set_path(&format!("{}/", url.path()));
    }
    folder
}

fn remote_url(text: &str, mut url: Url) -> Result<Url, LakeError> {
    let refused = |why: String| LakeError::Location { text: redacted(text), why };
    if !matches!(url.scheme(), "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss" | "memory") {
        return Err(refused(format!(
            "scheme '{}' is not known; use one of {SCHEMES}",
            url.scheme()
        )));
    }
    let user_is_container = matches!(url.scheme(), "abfs" | "abfss");
    if url.password().is_some() || (!url.username().is_empty() && !user_is_container) {
        return Err(refused(
            "credentials belong in the lake's storage options, not in a URL".into(),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("a location has no '?' and no '#'; write them as %3F and %23".into()));
    }
    if url.host_str().is_none_or(str::is_empty) && url.scheme() != "memory" {
        return Err(refused("the bucket or container is missing".into()));
    }
    // The store decodes the path, so `..%2f..` is checked as what it would become.
    let path = Path::from_url_path(url.path()).map_err(|e| refused(e.to_string()))?;
    check_names(text, &path)?;
    let folder = url.path().ends_with('/');
    {
        let mut segments =
            url.path_segments_mut().map_err(|()| refused("it has no path".into()))?;
        segments.clear();
        segments.extend(path.as_ref().split('/').filter(|part| !part.is_empty()));
        if folder {
            segments.push("");
        }
    }
    Ok(url)
}

fn local_url(text: &str, path: &FsPath, folder: bool) -> Result<Url, LakeError> {
    let refused = |why: String| LakeError::Location { text: text.to_owned(), why };
    let path = canonical(path).map_err(|e| refused(e.to_string()))?;
    let folder = folder || path.is_dir();
    let url = if folder { Url::from_directory_path(&path) } else { Url::from_file_path(&path) };
    let url = url.map_err(|()| refused("is not an absolute path".into()))?;
    check_names(text, &path_of(&url)?)?;
    Ok(url)
}

/// The path with all symbolic links followed, also when its last parts do not exist yet.
pub(crate) fn canonical(path: &FsPath) -> io::Result<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut at = path.to_path_buf();
    loop {
        match at.canonicalize() {
            Ok(mut found) => {
                found.extend(missing.into_iter().rev());
                return Ok(found);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A link to nowhere would lead somewhere once its target exists.
                if at.symlink_metadata().is_ok() {
                    return Err(io::Error::other("a symbolic link in it leads nowhere"));
                }
                let Some(name) = at.file_name().map(ToOwned::to_owned) else {
                    return Err(io::Error::other("'..' after a folder that does not exist"));
                };
                missing.push(name);
                if !at.pop() {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
        }
    }
}

/// The text without what may be a password or a signature.
fn redacted(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.has_host() => {
            let secret = url.password().is_some() || url.query().is_some();
            if !secret {
                return text.to_owned();
            }
            // Both fail only for URLs without a host, which were sorted out above.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.set_query(None);
            url.to_string()
        }
        _ => text.to_owned(),
    }
}

/// A table's folder with the store that holds it.
#[derive(Clone)]
pub(crate) struct Place {
    /// With a trailing slash.
    pub(crate) url: Url,
    /// The folder in `root_store`.
    pub(crate) path: Path,
    /// Starts at the bucket.
    pub(crate) root_store: Arc<dyn ObjectStore>,
    /// Starts at the folder.
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.url.as_str()).finish()
    }
}

impl Place {
    pub(crate) fn open(stores: &Stores, url: &Url) -> Result<Self, LakeError> {
        let url = as_folder(url);
        let path = path_of(&url)?;
        let root_store = stores.get(&url)?;
        let store = Arc::new(PrefixStore::new(Arc::clone(&root_store), path.clone()));
        Ok(Self { url, path, root_store, store })
    }

    /// As errors and users name it.
    pub(crate) fn text(&self) -> String {
        self.url.to_string()
    }

    /// The folder on this machine, if it is one.
    pub(crate) fn local(&self) -> Option<PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten()
    }

    /// The library's handle of the table's log.
    pub(crate) fn log_store(&self) -> LogStoreRef {
        default_logstore(
            Arc::clone(&self.store),
            Arc::clone(&self.root_store),
            &self.url,
            &StorageConfig::default(),
        )
    }
}
