//! How a command ends that did not work.

use std::{error::Error, io::Write, process::ExitCode};

use crate::{
    boot::BootError,
    client::{ClientError, ScriptError},
    config::ConfigError,
    logs::LogError,
};

/// Why a command did not work, for people.
#[derive(Debug)]
pub struct Failure {
    text: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The command was tried and did not work.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, code: 1 }
    }

    /// The command makes no sense as it was given.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, code: 2 }
    }

    /// The same, with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error with everything below it.
    #[must_use]
    pub fn of(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            below = cause.source();
        }
        Self::new(text)
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Says it on standard error.
    pub(super) fn print(&self) {
        if self.text.is_empty() {
            return;
        }
        let mut err = std::io::stderr().lock();
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        // There is nobody left to tell.
        let _ = write!(err, "error: {}\n{hint}", self.text);
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // Whoever reads our output has read enough.
        if error.is_broken_pipe() {
            return Self { text: String::new(), hint: None, code: 0 };
        }
        Self { text: error.to_string(), hint: error.hint(), code: 1 }
    }
}

impl From<ScriptError> for Failure {
    fn from(error: ScriptError) -> Self {
        if error.source.is_broken_pipe() {
            return error.source.into();
        }
        Self { hint: error.source.hint(), text: error.to_string(), code: 1 }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self { code: 2, ..Self::of(&error) };
        failure.with_hint("`whimbrel config show` lists every setting with its value and origin")
    }
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Self {
        Self::of(&error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self { code: 2, ..Self::of(&error) }
    }
}
