//! A folder of `.sql` files, read to be sent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::ClientError;

/// Folders deeper than this are surely a loop of links.
const DEPTH_MAX: usize = 16;

/// Every `.sql` file below the folder: its path from there, with `/`, and its text; by path.
///
/// Files and folders whose names begin with a dot are left out.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, ClientError> {
    let mut files = Vec::new();
    collect(folder, "", DEPTH_MAX, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, String)>,
) -> Result<(), ClientError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ClientError::Read { path, source }
    };
    for entry in fs::read_dir(folder).map_err(refused(folder))? {
        let path: PathBuf = entry.map_err(refused(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            if depth > 0 {
                collect(&path, &format!("{relative}/"), depth - 1, files)?;
            }
        } else if name.ends_with(".sql") {
            files.push((relative, fs::read_to_string(&path).map_err(refused(&path))?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sql_files_are_read_in_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for (path, text) in
            [("z.sql", "z"), ("b/c/a.sql", "a"), ("README.md", "no"), (".git/x.sql", "no")]
        {
            fs::write(root.join(path), text).unwrap();
        }
        let files = read_folder(root).unwrap();
        assert_eq!(
            files,
            [("b/c/a.sql".to_owned(), "a".to_owned()), ("z.sql".to_owned(), "z".to_owned())]
        );
        let missing = read_folder(&root.join("none")).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }
}
