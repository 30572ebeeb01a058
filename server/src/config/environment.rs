//! The environment of the process, read once.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The environment variables that the process was started with.
///
/// Its debug form names the variables and shows no value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    program: String,
}

impl Environment {
    /// Takes the variables of this process. Those that are not Unicode are left out.
    #[must_use]
    pub fn read() -> Self {
        let mut environment: Self = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        environment.program = std::env::args().next().unwrap_or_default();
        environment
    }

    /// How the user called this program, for texts that can be copied and pasted.
    #[must_use]
    pub fn program(&self) -> &str {
        if self.program.is_empty() { "whimbrel" } else { &self.program }
    }

    /// One variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The variables whose names begin with `prefix`, in order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The password for the command-line client, when one is set.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.get("WHIMBREL_PASSWORD")
    }

    /// The token for the command-line client, when one is set.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.get("WHIMBREL_TOKEN").filter(|token| !token.is_empty())
    }

    /// The file that keeps the statements typed into `whimbrel sql`: in the user's folder for
    /// state. Nothing when the user has no home.
    #[must_use]
    pub fn history_file(&self) -> Option<PathBuf> {
        let state = match self.get("XDG_STATE_HOME") {
            Some(folder) if !folder.is_empty() => PathBuf::from(folder),
            _ => PathBuf::from(self.get("HOME").filter(|home| !home.is_empty())?)
                .join(".local")
                .join("state"),
        };
        Some(state.join("whimbrel").join("history"))
    }

    /// Whether the user wants no colour.
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some_and(|value| !value.is_empty())
    }

    /// The point at which tests let a debug build abort; release builds have none.
    pub(super) fn crash_at(&self) -> Option<String> {
        if !cfg!(debug_assertions) {
            return None;
        }
        self.get("WHIMBREL_CRASH_AT").filter(|point| !point.is_empty()).map(str::to_owned)
    }

    /// The point at which tests let a debug build stand still; release builds have none.
    pub(super) fn pause_at(&self) -> Option<String> {
        if !cfg!(debug_assertions) {
            return None;
        }
        self.get("WHIMBREL_PAUSE_AT").filter(|point| !point.is_empty()).map(str::to_owned)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().collect(), program: String::new() }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
