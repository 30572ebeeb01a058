//! Values that go to a database and come from it: text and 64-bit integers, nothing else.

use std::{fmt::Display, str::FromStr};

use catalog::error::CatalogError;
use model::{
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    job::JobState,
    name::ObjectName,
    time::Timestamp,
};

/// One value, possibly NULL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// TEXT.
    Text(Option<String>),
    /// BIGINT.
    Int(Option<i64>),
}

// Values may be password hashes: only their type is ever shown.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Int(_) => "Int",
        })
    }
}

macro_rules! value_from {
    ($($type:ty => |$value:ident| $make:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $make
            }
        })*
    };
}

value_from! {
    &str => |v| Self::Text(Some(v.to_owned()));
    String => |v| Self::Text(Some(v));
    Option<String> => |v| Self::Text(v);
    i64 => |v| Self::Int(Some(v));
    u32 => |v| Self::Int(Some(i64::from(v)));
    u64 => |v| Self::Int(Some(i64::try_from(v).unwrap_or(i64::MAX)));
    Option<i64> => |v| Self::Int(v);
    bool => |v| Self::Int(Some(i64::from(v)));
    Timestamp => |v| Self::Int(Some(v.as_micros()));
    Option<Timestamp> => |v| Self::Int(v.map(Timestamp::as_micros));
    JobState => |v| Self::Text(Some(v.as_str().to_owned()));
    GraphId => |v| Self::Text(Some(v.to_string()));
    JobId => |v| Self::Text(Some(v.to_string()));
    ObjectId => |v| Self::Text(Some(v.to_string()));
    RunId => |v| Self::Text(Some(v.to_string()));
    WorkerId => |v| Self::Text(Some(v.to_string()));
}

/// The parameters of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use values;

/// Texts as one parameter: a JSON array.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    let items: Vec<_> =
        items.into_iter().map(|item| serde_json::Value::String(item.to_string())).collect();
    Value::Text(Some(serde_json::Value::Array(items).to_string()))
}

/// One answered row, read from its first column to its last.
#[derive(Debug, Clone)]
pub struct Row {
    cells: std::vec::IntoIter<Value>,
}

impl Row {
    /// A row of these cells.
    #[must_use]
    pub fn new(cells: Vec<Value>) -> Self {
        Self { cells: cells.into_iter() }
    }

    /// Bytes of all texts in it.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let bytes = |cell: &Value| match cell {
            Value::Text(Some(text)) => text.len(),
            Value::Text(None) | Value::Int(_) => 0,
        };
        self.cells.as_slice().iter().map(bytes).sum()
    }

    pub(crate) fn text_opt(&mut self, what: &'static str) -> Result<Option<String>, CatalogError> {
        match self.cells.next() {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Int(None)) => Ok(None),
            Some(Value::Int(Some(_))) => Err(corrupt(what, "a number where a text belongs")),
            None => Err(corrupt(what, "the column is missing")),
        }
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, CatalogError> {
        self.text_opt(what)?.ok_or_else(|| corrupt(what, "it is NULL"))
    }

    pub(crate) fn int_opt(&mut self, what: &'static str) -> Result<Option<i64>, CatalogError> {
        match self.cells.next() {
            Some(Value::Int(number)) => Ok(number),
            Some(Value::Text(None)) => Ok(None),
            Some(Value::Text(Some(_))) => Err(corrupt(what, "a text where a number belongs")),
            None => Err(corrupt(what, "the column is missing")),
        }
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i64, CatalogError> {
        self.int_opt(what)?.ok_or_else(|| corrupt(what, "it is NULL"))
    }

    /// A number that is 0 when it is NULL.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<u64, CatalogError> {
        let number = self.int_opt(what)?.unwrap_or(0);
        u64::try_from(number).map_err(|e| corrupt(what, e))
    }

    pub(crate) fn small(&mut self, what: &'static str) -> Result<u32, CatalogError> {
        let number = self.int(what)?;
        u32::try_from(number).map_err(|e| corrupt(what, e))
    }

    pub(crate) fn truth(&mut self, what: &'static str) -> Result<bool, CatalogError> {
        Ok(self.int(what)? != 0)
    }

    pub(crate) fn time(&mut self, what: &'static str) -> Result<Timestamp, CatalogError> {
        Ok(Timestamp::from_micros(self.int(what)?))
    }

    pub(crate) fn time_opt(
        &mut self,
        what: &'static str,
    ) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.int_opt(what)?.map(Timestamp::from_micros))
    }

    /// A text that has a form: an id, a state.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        what: &'static str,
    ) -> Result<T, CatalogError> {
        self.text(what)?.parse().map_err(|e| corrupt(what, e))
    }

    pub(crate) fn parsed_opt<T: FromStr<Err: Display>>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<T>, CatalogError> {
        let Some(text) = self.text_opt(what)? else { return Ok(None) };
        text.parse().map(Some).map_err(|e| corrupt(what, e))
    }

    /// Two columns: schema and name.
    pub(crate) fn name(&mut self, what: &'static str) -> Result<ObjectName, CatalogError> {
        ObjectName::new(self.text(what)?, self.text(what)?).map_err(|e| corrupt(what, e))
    }
}

pub(crate) fn corrupt(what: &'static str, why: impl ToString) -> CatalogError {
    CatalogError::Corrupt { what, why: why.to_string() }
}
