//! Tables, views and materialized views as the catalog keeps them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{id::ObjectId, name::ObjectName, time::Timestamp, transform::Transform};

/// Text properties of an object (`TBLPROPERTIES`), in order of their keys.
pub type Properties = BTreeMap<String, String>;

/// What the catalog knows of one named object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Never changes, never used again.
    pub id: ObjectId,
    /// How SQL names it.
    pub name: ObjectName,
    /// What it is.
    pub body: ObjectBody,
    /// `COMMENT` text.
    pub comment: Option<String>,
    /// `TBLPROPERTIES`.
    pub properties: Properties,
    /// Name of the principal who created it.
    pub owner: String,
    /// What of its rows others than its owner see.
    pub policy: Policy,
    /// When it was created.
    pub created_at: Timestamp,
    /// Counts the definitions that this object has had; 1 for the first.
    pub definition_version: i64,
}

/// What those who may read an object, and do not own it, see of its rows. Expressions are SQL over
/// its columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Only rows for which this is true; all when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    /// What is shown in the place of a column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masks: BTreeMap<String, String>,
}

impl Policy {
    /// Whether everybody who may read sees everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_filter.is_none() && self.masks.is_empty()
    }
}

/// What kind of thing an object is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectBody {
    /// Data at a location.
    Table(Table),
    /// A stored query.
    View(View),
    /// A stored query whose result is kept in a Delta table.
    MaterializedView(Transform),
    /// A Delta table that grows by what its flows find new.
    StreamingTable(Transform),
}

/// Data at a location that Whimbrel reads and, when it is Delta, writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Absolute URL of the folder or file, with a trailing slash for a folder.
    pub location: String,
    /// How the data is stored.
    pub format: TableFormat,
    /// True when a `LOCATION` was given, or the data was there before: a drop never removes it
    /// unless PURGE is said.
    pub external: bool,
    /// Reader options of file formats (`OPTIONS`), for example `header` of CSV.
    pub options: Properties,
    /// Declared primary key, for drivers that ask; not enforced.
    pub primary_key: Vec<String>,
    /// Columns whose values are in the names of folders (`PATH COLUMNS`), where the location has
    /// placeholders: it holds them as they were written, `{name}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_columns: Vec<PathColumn>,
    /// The object that a folder has to hold before it counts (`COMPLETE WHEN`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_when: Option<String>,
}

impl Table {
    /// Whether its files are those of folders that are looked at first: for values in their names, or
    /// for what says that they are complete.
    #[must_use]
    pub fn has_folders(&self) -> bool {
        !self.path_columns.is_empty() || self.complete_when.is_some()
    }
}

/// A column whose values are in the names of folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathColumn {
    /// Its name, and that of its placeholder.
    pub name: String,
    /// Its type as SQL.
    pub data_type: String,
}

/// How the data of a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// Delta Lake.
    Delta,
    /// Parquet files, read only.
    Parquet,
    /// CSV files, read only.
    Csv,
    /// Newline-delimited JSON files, read only.
    Json,
}

impl TableFormat {
    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Delta => "DELTA",
            Self::Parquet => "PARQUET",
            Self::Csv => "CSV",
            Self::Json => "JSON",
        }
    }
}

/// A stored query, planned anew by each statement that names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The query, with every name fully qualified.
    pub query: String,
    /// The whole statement as its author wrote it.
    pub definition: String,
    /// Objects that the query names directly.
    pub reads: Vec<ObjectName>,
}

impl Object {
    /// The location of the Delta table or files behind the object; a view has none.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        match &self.body {
            ObjectBody::Table(table) => Some(&table.location),
            ObjectBody::MaterializedView(transform) | ObjectBody::StreamingTable(transform) => {
                Some(&transform.location)
            }
            ObjectBody::View(_) => None,
        }
    }

    /// What is declared of a materialized view or a streaming table.
    #[must_use]
    pub fn transform(&self) -> Option<&Transform> {
        match &self.body {
            ObjectBody::MaterializedView(transform) | ObjectBody::StreamingTable(transform) => {
                Some(transform)
            }
            ObjectBody::Table(_) | ObjectBody::View(_) => None,
        }
    }

    /// The transform whose table is what its query gives: a materialized view, or a streaming table with
    /// AUTO CDC. Other streaming tables keep what they have read once.
    #[must_use]
    pub fn computed(&self) -> Option<&Transform> {
        match &self.body {
            ObjectBody::MaterializedView(view) => Some(view),
            ObjectBody::StreamingTable(view) => Some(view).filter(|view| !view.query.is_empty()),
            ObjectBody::Table(_) | ObjectBody::View(_) => None,
        }
    }

    /// Objects whose change changes this one.
    #[must_use]
    pub fn reads(&self) -> &[ObjectName] {
        match &self.body {
            ObjectBody::Table(_) => &[],
            ObjectBody::View(view) => &view.reads,
            ObjectBody::MaterializedView(transform) | ObjectBody::StreamingTable(transform) => {
                &transform.reads
            }
        }
    }

    /// The kind as clients are told it, for example `MATERIALIZED VIEW`.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match &self.body {
            ObjectBody::Table(_) => ObjectKind::Table,
            ObjectBody::View(_) => ObjectKind::View,
            ObjectBody::MaterializedView(_) => ObjectKind::MaterializedView,
            ObjectBody::StreamingTable(_) => ObjectKind::StreamingTable,
        }
    }
}

/// The kind of an object without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// See [`Table`].
    Table,
    /// See [`View`].
    View,
    /// See [`ObjectBody::MaterializedView`].
    MaterializedView,
    /// See [`ObjectBody::StreamingTable`].
    StreamingTable,
}

impl ObjectKind {
    /// Every kind, in the order in which clients list them.
    pub const ALL: [Self; 4] =
        [Self::MaterializedView, Self::StreamingTable, Self::Table, Self::View];

    /// The words that SQL and the drivers use.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
            Self::StreamingTable => "STREAMING TABLE",
        }
    }
}
