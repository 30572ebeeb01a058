//! A folder of `.sql` files, read to be sent.

use std::{fs, io, path::Path};

use super::ClientError;

/// The `.sql` files of the folder itself: name and text, by name. Folders inside it are another
/// matter: they can hold checks, loads or other folders of transforms.
///
/// Files whose names begin with a dot are left out.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, ClientError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ClientError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused(folder))? {
        let path = entry.map_err(refused(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let declares = name.ends_with(".sql") && !name.starts_with('.') && path.is_file();
        if declares {
            let text = fs::read_to_string(&path).map_err(refused(&path))?;
            files.push((name.to_owned(), text));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sql_files_of_the_folder_itself_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("checks")).unwrap();
        for (path, text) in [
            ("z.sql", "z"),
            ("a.sql", "a"),
            ("checks/c.sql", "no"),
            ("README.md", "no"),
            (".hidden.sql", "no"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        let files = read_folder(root).unwrap();
        assert_eq!(
            files,
            [("a.sql".to_owned(), "a".to_owned()), ("z.sql".to_owned(), "z".to_owned())]
        );
        let missing = read_folder(&root.join("none")).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }
}
