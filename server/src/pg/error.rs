//! Errors as a Postgres client reads them: SQLSTATE, text, hint and position.

use query::error::QueryError;

use crate::{
    auth::AuthError,
    error::{logged, sqlstate, sqlstate_of},
};

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub(super) struct PgError {
    sqlstate: &'static str,
    text: String,
    hint: Option<String>,
    /// Line and column in the text of its statement, from 1.
    place: Option<(u64, u64)>,
    /// Character in the text that the client sent, from 1.
    position: Option<usize>,
    /// The client is not there any more.
    gone: bool,
}

impl PgError {
    pub(super) fn new(sqlstate: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { sqlstate, text, hint: None, place: None, position: None, gone: false }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::new("08P01", text)
    }

    pub(super) fn too_long(length: usize, max: usize) -> Self {
        Self::new("54000", format!("a message has {length} bytes; at most {max} are taken"))
            .with_hint("send less at once, or raise server.message_size_max")
    }

    pub(super) fn too_many_columns(columns: usize) -> Self {
        Self::new("54011", format!("a row has {columns} columns, more than the protocol can say"))
    }

    /// Nobody reads this one.
    pub(super) fn gone() -> Self {
        Self { gone: true, ..Self::new("08006", "the client is gone") }
    }

    pub(super) fn cancelled() -> Self {
        Self::new("57014", "the statement was cancelled on the client's request")
    }

    pub(super) fn unsupported(text: impl Into<String>) -> Self {
        Self::new("0A000", text)
    }

    pub(super) fn syntax(text: impl Into<String>) -> Self {
        Self::new("42601", text)
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new("22023", text)
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Points into `sql`, which begins `before` characters into what the client sent.
    pub(super) fn within(mut self, sql: &str, before: usize) -> Self {
        let Some((line, column)) = self.place else { return self };
        let at_line = |n: u64| sql.split_inclusive('\n').take(usize::try_from(n).unwrap_or(0));
        let earlier: usize = at_line(line.saturating_sub(1)).map(|line| line.chars().count()).sum();
        let column = usize::try_from(column).unwrap_or(1);
        self.position = Some(before + earlier + column);
        self
    }

    pub(super) fn fields(&self, severity: &str) -> Vec<(u8, String)> {
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.sqlstate.to_owned()),
            (b'M', self.text.clone()),
        ];
        if let Some(hint) = &self.hint {
            fields.push((b'H', hint.clone()));
        }
        if let Some(position) = self.position {
            fields.push((b'P', position.to_string()));
        }
        fields
    }
}

impl From<QueryError> for PgError {
    fn from(error: QueryError) -> Self {
        let (text, hint) = logged(error.code(), error.to_string(), error.hint(), &error);
        Self { hint, place: error.position(), ..Self::new(sqlstate_of(&error), text) }
    }
}

impl From<AuthError> for PgError {
    fn from(error: AuthError) -> Self {
        let (text, hint) = logged(error.code(), error.to_string(), None, &error);
        Self { hint, ..Self::new(sqlstate(error.code()), text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> PgError {
        PgError { place: Some((line, column)), ..PgError::syntax("no") }
    }

    #[test]
    fn a_position_counts_characters_of_everything_that_was_sent() {
        assert_eq!(at(1, 8).within("SELECT x", 0).position, Some(8));
        assert_eq!(at(2, 3).within("SELECT 'ä'\n, x", 0).position, Some(14));
        assert_eq!(at(1, 1).within("x", 10).position, Some(11));
        assert_eq!(PgError::syntax("no").within("x", 10).position, None);
    }
}
