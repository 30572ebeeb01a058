//! Rows of a result that its declaration does not allow: why a run fails before it publishes.

use std::fmt;

use model::report::Promise;

/// What was violated, and by what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// What kind of promise it was.
    pub kind: ViolationKind,
    /// What was violated, and how often.
    pub text: String,
    /// Some of the rows or values, as texts. Not for everybody: see [`Violation::without_rows`].
    pub examples: Vec<String>,
    /// What to do about it.
    pub hint: String,
}

/// The kind of a promise that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// An expectation.
    Expectation,
    /// A PRIMARY KEY or a UNIQUE key.
    Unique,
    /// A FOREIGN KEY.
    Foreign,
}

impl ViolationKind {
    /// The same, as the report of a run says it.
    #[must_use]
    pub fn promise(self) -> Promise {
        match self {
            Self::Expectation => Promise::Expectation,
            Self::Unique => Promise::Unique,
            Self::Foreign => Promise::Foreign,
        }
    }
}

impl Violation {
    /// The same for those who may not see every row.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self { examples: Vec::new(), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.examples.is_empty() {
            write!(f, ", for example: {}", self.examples.join("; "))?;
        }
        Ok(())
    }
}
