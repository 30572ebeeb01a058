//! Locations whose folders say values of columns: `in/pos/{entity_id}/{data_version}/`.
//!
//! It exists so that the dialect, which tells where a mistake stands, and the lake, which lists the
//! folders, read such a location alike. It never looks at a store.

/// A placeholder of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The column that it stands for.
    pub column: String,
    /// Where it begins: characters of the location before it.
    pub at: usize,
}

/// What is wrong with the braces of a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BraceError {
    /// Where: characters of the location before it.
    pub at: usize,
    /// What, for people.
    pub why: &'static str,
}

/// The placeholders of a location, from the first to the last.
pub fn placeholders(location: &str) -> Result<Vec<Placeholder>, BraceError> {
    let (mut found, mut before) = (Vec::new(), 0);
    for folder in location.split('/') {
        let in_location = |at: usize| before + at;
        let name = FolderName::parse(folder)
            .map_err(|error| BraceError { at: in_location(error.at), ..error })?;
        let mut at = 0;
        for part in name.parts {
            at += match part {
                Part::Text(text) => text.chars().count(),
                Part::Column(column) => {
                    let length = column.chars().count() + "{}".len();
                    found.push(Placeholder { column, at: in_location(at) });
                    length
                }
            };
        }
        before += folder.chars().count() + "/".len();
    }
    Ok(found)
}

/// How a folder is named: by a text, or by placeholders with text around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(String),
}

impl FolderName {
    /// Reads what a location has between two slashes.
    pub fn parse(folder: &str) -> Result<Self, BraceError> {
        let mut parts = Vec::new();
        let (mut text, mut open): (String, Option<(usize, String)>) = (String::new(), None);
        for (at, character) in folder.chars().enumerate() {
            let refused = |why| Err(BraceError { at, why });
            match (character, &mut open) {
                ('{', None) if text.is_empty() && matches!(parts.last(), Some(Part::Column(_))) => {
                    return refused("nothing between two placeholders tells where one ends");
                }
                ('{', None) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    open = Some((at, String::new()));
                }
                ('{', Some(_)) => return refused("a placeholder is within another one"),
                ('}', None) => return refused("this '}' has no '{' before it"),
                ('}', Some((_, name))) if name.trim().is_empty() => {
                    return refused("a placeholder has a name: {column}");
                }
                ('}', Some((_, name))) => {
                    parts.push(Part::Column(std::mem::take(name)));
                    open = None;
                }
                (other, Some((_, name))) => name.push(other),
                (other, None) => text.push(other),
            }
        }
        if let Some((at, _)) = open {
            return Err(BraceError { at, why: "this '{' has no '}' in the same folder's name" });
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// The columns of its placeholders.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Column(column) => Some(column.as_str()),
        })
    }

    /// Whether its first characters may be any.
    #[must_use]
    pub fn begins_with_placeholder(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Column(_)))
    }

    /// What the name of a folder says of each column, in the order of [`FolderName::columns`]; `None`
    /// for a folder that is not named like this. A placeholder ends where the text after it comes for
    /// the first time; text at the end is the end of the name.
    #[must_use]
    pub fn values<'a>(&self, folder: &'a str) -> Option<Vec<&'a str>> {
        let (mut values, mut rest, mut is_open) = (Vec::new(), folder, false);
        let last = self.parts.len().saturating_sub(1);
        for (n, part) in self.parts.iter().enumerate() {
            match part {
                Part::Column(_) => is_open = true,
                Part::Text(text) if !is_open => rest = rest.strip_prefix(text.as_str())?,
                Part::Text(text) => {
                    let (value, after) = match n == last {
                        true => (rest.strip_suffix(text.as_str())?, ""),
                        false => rest.split_once(text.as_str())?,
                    };
                    values.push(value);
                    (rest, is_open) = (after, false);
                }
            }
        }
        if is_open {
            values.push(rest);
            return Some(values);
        }
        rest.is_empty().then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(name: &str, folder: &'a str) -> Option<Vec<&'a str>> {
        FolderName::parse(name).unwrap().values(folder)
    }

    #[test]
    fn names_of_folders_say_values() {
        for (name, folder, expected) in [
            ("{a}", "x", Some(vec!["x"])),
            ("v{n}", "v12", Some(vec!["12"])),
            ("v{n}", "v", Some(vec![""])),
            ("v{n}", "x12", None),
            ("day={day}", "day=2026-01-31", Some(vec!["2026-01-31"])),
            ("{a}-{b}", "1-2-3", Some(vec!["1", "2-3"])),
            ("{a}-{b}", "12", None),
            ("{a}.x", "b.x.x", Some(vec!["b.x"])),
            ("{a}-{b}.x", "1-2.x", Some(vec!["1", "2"])),
            ("{a}.x", "b.y", None),
            ("plain", "plain", Some(vec![])),
            ("plain", "plainer", None),
            ("{ä}ö{ü}", "1ö2", Some(vec!["1", "2"])),
        ] {
            assert_eq!(values(name, folder), expected, "{name} of {folder}");
        }
    }

    #[test]
    fn placeholders_are_found_where_they_stand() {
        let found = placeholders("ä/{entity_id}/v{n}-{m}/").unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.column.as_str(), one.at)).collect();
        assert_eq!(found, [("entity_id", 2), ("n", 15), ("m", 19)]);
        assert_eq!(placeholders("s3://b/in/").unwrap(), []);
        for (location, at, why) in [
            ("in/{a}{b}/", 6, "between two placeholders"),
            ("in/{a/b}/", 3, "no '}'"),
            ("in/a}/", 4, "no '{'"),
            ("in/{{a}}/", 4, "within another"),
            ("in/x{ }/", 6, "has a name"),
        ] {
            let error = placeholders(location).unwrap_err();
            assert_eq!(error.at, at, "{location}: {error}");
            assert!(error.why.contains(why), "{location}: {error}");
        }
    }
}
