//! Files that a log names outside of its table's folder.
//!
//! A log may name any file by an absolute URL (Delta protocol, "Add File and Remove File"), which shallow
//! clones do, and the library opens whatever it names. So whoever can write a log could read every file
//! that the server can. Here such files are held to the folders of the lake, as all other places are.

use std::sync::Arc;

use arrow::{array::AsArray, compute::cast, datatypes::DataType};
use deltalake_core::table::state::DeltaTableState;
use object_store::path::Path;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::{
    deletion_vector::DeletionVector,
    error::{Cause, LakeError},
    location::{Place, Roots, canonical, path_of},
    stores::{Stores, store_key},
};

/// What of a decoded path would mean something else in a URL.
const ENCODED_IN_URL: AsciiSet = CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'\\');
/// The same of a path without a scheme.
const ENCODED_IN_PATH: AsciiSet = ENCODED_IN_URL.add(b':');

/// Where a file is that a log names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// In the table's folder, with its path there.
    Within(Path),
    /// In another folder.
    Elsewhere,
}

impl Whereabouts {
    /// Of a path as the library tells it: decoded. `None` for one of which it cannot be told.
    ///
    /// A log may name a file of the table's own folder by an absolute path or a URL as well, and both
    /// may lead there by symbolic links.
    pub(crate) fn of(place: &Place, decoded: &str) -> Option<Self> {
        if stays_in_folder(decoded) {
            return Some(Self::Within(literal(decoded)));
        }
        let encoded = match has_scheme(decoded) {
            true => utf8_percent_encode(decoded, &ENCODED_IN_URL),
            false => utf8_percent_encode(decoded, &ENCODED_IN_PATH),
        };
        let mut url = resolved(&place.url, &encoded.to_string())?;
        if url.scheme() == "file" {
            url = Url::from_file_path(canonical(&url.to_file_path().ok()?).ok()?).ok()?;
        }
        let path = path_of(&url).ok()?;
        let is_same_store =
            store_key(&place.url) == store_key(&url) && place.url.username() == url.username();
        Some(match path.prefix_match(&place.path).filter(|_| is_same_store) {
            Some(within) => Self::Within(within.collect()),
            None => Self::Elsewhere,
        })
    }

    /// As [`Whereabouts::of`], for those who must not be wrong about it.
    pub(crate) fn certain(place: &Place, decoded: &str) -> Result<Self, LakeError> {
        Self::of(place, decoded).ok_or_else(|| LakeError::FileUnresolved {
            location: place.text(),
            file: decoded.to_owned(),
        })
    }
}

/// The path in a store that is called as this says.
fn literal(decoded: &str) -> Path {
    Path::parse(decoded).unwrap_or_else(|_| Path::from(decoded))
}

/// Whether a path is a URL.
pub(crate) fn has_scheme(decoded: &str) -> bool {
    decoded.split_once(':').is_some_and(|(scheme, rest)| {
        let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        !scheme.is_empty() && scheme.bytes().all(is_of_scheme) && rest.starts_with('/')
    })
}

/// Checks that every file and every deletion vector of the version is in the table's folder or in one of
/// the lake's. Opens the stores of the latter.
pub(crate) fn check(
    place: &Place,
    state: &DeltaTableState,
    (roots, stores): (&Roots, &Stores),
) -> Result<(), LakeError> {
    let broken = |source: Cause| LakeError::BrokenLog { location: place.text(), source };
    let held = |written: &str| {
        let url = resolved(&place.url, written);
        if url.as_ref().is_some_and(|url| is_in_folder(place, url)) {
            return Ok(());
        }
        let allowed = url.filter(|url| roots.check(url).is_ok()).ok_or_else(|| {
            LakeError::FileOutsideRoots { location: place.text(), file: written.to_owned() }
        })?;
        stores.get(&allowed).map(drop)
    };
    let log = state.snapshot().try_log_data().map_err(|error| broken(Arc::new(error)))?;
    let mut is_plain = true;
    for file in log.iter() {
        is_plain &= stays_in_folder(&file.path());
        let vector = file.deletion_vector_descriptor();
        if let Some(written) = vector.and_then(|vector| DeletionVector::elsewhere(&vector)) {
            held(&written)?;
        }
    }
    // Of a file the library tells the path decoded, and that is not what it opens.
    if is_plain {
        return Ok(());
    }
    let files = state.add_actions_table(true).map_err(|error| broken(Arc::new(error)))?;
    let Some(paths) = files.column_by_name("path") else { return Ok(()) };
    let paths = cast(paths, &DataType::Utf8).map_err(|error| broken(Arc::new(error)))?;
    paths.as_string::<i32>().iter().flatten().try_for_each(held)
}

/// Whether a path is within its folder however it was encoded: this errs on the side of `false`.
fn stays_in_folder(decoded: &str) -> bool {
    let is_odd = |byte: u8| byte == b'\\' || byte.is_ascii_control();
    // What stands before a ':' could be the scheme of a URL; in the name of a partition's folder there
    // is a '=' before it.
    let may_have_scheme = decoded.split_once(':').is_some_and(|(before, _)| {
        before.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-. ".contains(&byte))
    });
    !decoded.starts_with(['/', ' '])
        && !decoded.bytes().any(is_odd)
        && !may_have_scheme
        && decoded.split('/').all(|part| part.trim() != "..")
}

/// The file that the library opens for what is written in a log.
fn resolved(folder: &Url, written: &str) -> Option<Url> {
    Url::parse(written).or_else(|_| folder.join(written)).ok()
}

fn is_in_folder(place: &Place, url: &Url) -> bool {
    let within = |path: Path| path.prefix_matches(&place.path);
    store_key(&place.url) == store_key(url)
        && place.url.username() == url.username()
        && path_of(url).is_ok_and(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_a_path_of_the_folder_never_leaves_it() {
        let folder = Url::parse("file:///lake/t/").unwrap();
        let odd = [
            "/etc/passwd",
            " /etc/passwd",
            "../x",
            "a/../../x",
            "%2e%2e/x",
            ".%2E/x",
            "..\\x",
            "\\x",
            "file:///x",
            "FILE:/x",
            "s3://b/x",
            " file:///x",
            ".\t./x",
            "fi\nle:///x",
            "a/.. /../../x",
            "//host/x",
            "c:x",
        ];
        for written in odd {
            let decoded = crate::stored_path::decoded(written);
            let url = resolved(&folder, written).map(String::from).unwrap_or_default();
            assert!(!stays_in_folder(&decoded), "{written} is {url}");
        }
        let plain = [
            "a.parquet",
            "k=1/a.parquet",
            "k=a:b/c.parquet",
            "at=2020-01-01 00%3A00%3A00/a.parquet",
            "x..y/a",
            "k=%25/a",
            "ä/b",
            "a?b",
            "a#b",
            "k= /a",
            "a%2525/b",
        ];
        for written in plain {
            let url = resolved(&folder, written).unwrap();
            assert!(stays_in_folder(&crate::stored_path::decoded(written)), "{written}");
            assert!(url.as_str().starts_with(folder.as_str()), "{written} is {url}");
        }
    }
}
