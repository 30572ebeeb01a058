//! Changes the definition of a table that is there: columns, constraints, properties, comments.
//!
//! Only what older files stay readable under: a column that is added is NULL in them, and one is
//! never dropped, renamed or retyped.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::{
    kernel::{Metadata, Protocol},
    protocol::DeltaOperation,
};
use model::object::Properties;
use serde_json::{Map, Value, json};

use crate::{
    check::CONSTRAINT_PREFIX,
    commit::{CommitInfo, Committed},
    edit::{Edit, Meanwhile},
    error::LakeError,
    lake::Lake,
    protocol::{Declaration, check_writable, reserved},
    schema::{COMMENT, delta_schema_at, kernel_schema},
    snapshot::Snapshot,
    stage::{Effect, StageProgress, Staged},
};

/// One change of a table's definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Alteration {
    /// Columns at the end, all nullable; comments in the field metadata `comment`.
    AddColumns(SchemaRef),
    /// The column may hold NULL from now on.
    DropNotNull(String),
    /// Properties.
    Properties {
        /// These get a value.
        set: Properties,
        /// These go.
        unset: Vec<String>,
    },
    /// A CHECK constraint; the caller has seen that no row violates it.
    AddCheck {
        /// Its name.
        name: String,
        /// Its condition as SQL.
        condition: String,
    },
    /// The constraint goes.
    DropCheck {
        /// Its name, as it was written.
        name: String,
    },
    /// The table's comment.
    Comment(Option<String>),
    /// A column's comment.
    ColumnComment {
        /// The column.
        column: String,
        /// The text.
        comment: Option<String>,
    },
}

impl Lake {
    /// Changes the definition in one commit on top of `base`. `None` when it is that way already.
    /// [`LakeError::Conflict`] when somebody else changed the definition meanwhile, or rows that a new
    /// constraint had to be checked against.
    pub async fn alter(
        &self,
        base: Arc<Snapshot>,
        alteration: Alteration,
    ) -> Result<Option<Committed>, LakeError> {
        let place = self.place(base.location())?;
        check_writable(&base)?;
        let location = place.text();
        let internal = |error| LakeError::internal("write table metadata", &location, error);
        let old = serde_json::to_value(base.state().metadata()).map_err(internal)?;
        let mut new = Definition::of(&location, &base)?;
        let operation = new.apply(&base, &alteration)?;
        let metadata = new.metadata(old.clone())?;
        if serde_json::to_value(&metadata).map_err(internal)? == old {
            return Ok(None);
        }
        let declaration = Declaration {
            location: &location,
            schema: &new.schema,
            partitioned_by: base.partitioned_by(),
            comment: new.comment.as_deref(),
            properties: &new.properties,
        };
        if let Alteration::Properties { set, .. } = &alteration {
            Declaration { properties: set, ..declaration }.check_definition()?;
        } else {
            Declaration { properties: &Properties::new(), ..declaration }.check_definition()?;
        }
        new.no_reserved_name(&base)?;
        let edit = Edit {
            operation,
            removes: Vec::new(),
            feed: Vec::new(),
            protocol: declaration.protocol_after(&base)?,
            metadata: Some(metadata),
            metrics: Map::new(),
            named: alteration.named(),
            parameters: alteration.parameters(),
            meanwhile: match alteration {
                Alteration::AddCheck { .. } => Meanwhile::Nothing,
                _ => Meanwhile::OtherFiles,
            },
        };
        let progress = Arc::new(StageProgress::default());
        let area = self.staging_area(&place, progress);
        let staged = Staged {
            place,
            effect: Effect::Edit(Box::new(edit)),
            schema: Arc::clone(&new.schema),
            base: Some(base),
            adds: Vec::new(),
            rows: 0,
            area,
        };
        self.commit(staged, CommitInfo::default()).await.map(Some)
    }
}

impl Alteration {
    /// What the history calls it where the library has no operation of its own, as Spark does.
    fn named(&self) -> Option<&'static str> {
        match self {
            Self::Properties { set, unset } if set.is_empty() && !unset.is_empty() => {
                Some("UNSET TBLPROPERTIES")
            }
            Self::ColumnComment { .. } => Some("CHANGE COLUMN"),
            _ => None,
        }
    }

    /// For the history, beside what the library tells.
    fn parameters(&self) -> Map<String, Value> {
        // Each is a text, JSON where it is more than one.
        let text = |value: Value| json!(value.to_string());
        let told = match self {
            Self::Properties { set, unset } if set.is_empty() && !unset.is_empty() => {
                ("properties", text(json!(unset)))
            }
            Self::Comment(comment) => ("properties", text(json!({ "comment": comment }))),
            Self::ColumnComment { column, comment } => {
                ("column", text(json!({ "name": column, "comment": comment })))
            }
            _ => return Map::new(),
        };
        Map::from_iter([(told.0.to_owned(), told.1)])
    }
}

/// The definition of a table that gets columns together with rows.
pub(crate) struct Widened {
    pub(crate) schema: SchemaRef,
    pub(crate) metadata: Metadata,
    pub(crate) protocol: Option<Protocol>,
}

impl Widened {
    /// Adds nullable columns at the end.
    pub(crate) fn new(base: &Snapshot, columns: &SchemaRef) -> Result<Self, LakeError> {
        let location = base.location();
        let internal = |error| LakeError::internal("write table metadata", location, error);
        let mut new = Definition::of(location, base)?;
        new.add_columns(base, columns)?;
        new.no_reserved_name(base)?;
        let declaration = Declaration {
            location,
            schema: &new.schema,
            partitioned_by: base.partitioned_by(),
            comment: new.comment.as_deref(),
            properties: &new.properties,
        };
        let protocol = declaration.protocol_after(base)?;
        let old = serde_json::to_value(base.state().metadata()).map_err(internal)?;
        let metadata = new.metadata(old)?;
        Ok(Self { schema: new.schema, metadata, protocol })
    }
}

/// What an alteration may change of a table.
struct Definition {
    location: String,
    schema: SchemaRef,
    /// The schema as the log has it, with whatever other writers keep in it.
    fields: Value,
    properties: Properties,
    comment: Option<String>,
}

impl Definition {
    fn of(location: &str, base: &Snapshot) -> Result<Self, LakeError> {
        let fields = serde_json::from_str(base.state().metadata().schema_string());
        Ok(Self {
            location: location.to_owned(),
            schema: base.schema(),
            fields: fields.map_err(|error| LakeError::BrokenLog {
                location: location.to_owned(),
                source: Arc::new(error),
            })?,
            properties: base.properties().clone(),
            comment: base.comment().map(ToOwned::to_owned),
        })
    }

    fn column_error(&self, column: &str, why: &str) -> LakeError {
        LakeError::Column {
            location: self.location.clone(),
            column: column.to_owned(),
            why: why.to_owned(),
        }
    }

    /// Refuses to make a column mean two things; what other engines have made stays as it is.
    fn no_reserved_name(&self, base: &Snapshot) -> Result<(), LakeError> {
        let (schema, properties) = (base.schema(), base.properties());
        match reserved(&self.schema, &self.properties) {
            Some((column, why)) if reserved(&schema, properties).is_none() => {
                Err(self.column_error(column, why))
            }
            _ => Ok(()),
        }
    }

    fn apply(
        &mut self,
        base: &Snapshot,
        alteration: &Alteration,
    ) -> Result<DeltaOperation, LakeError> {
        let properties = |properties: &Properties| DeltaOperation::SetTableProperties {
            properties: properties.clone().into_iter().collect(),
        };
        Ok(match alteration {
            Alteration::AddColumns(columns) => {
                let added = self.add_columns(base, columns)?;
                DeltaOperation::AddColumn { fields: added }
            }
            Alteration::DropNotNull(column) => {
                self.field(column)?.insert("nullable".to_owned(), json!(true));
                let kernel = kernel_schema(&self.location, &self.schema)?;
                let missing = || self.column_error(column, "the table has no such column");
                let column = kernel.field(column).cloned().ok_or_else(missing)?;
                DeltaOperation::DropColumnNotNull { column }
            }
            Alteration::Properties { set, unset } => {
                for key in unset {
                    self.properties.remove(key);
                }
                self.properties.extend(set.clone());
                properties(set)
            }
            Alteration::AddCheck { name, condition } => {
                let key = format!("{CONSTRAINT_PREFIX}{name}");
                if self.constraint(name).is_some() {
                    return Err(LakeError::Property {
                        location: self.location.clone(),
                        key,
                        why: "there is a constraint of that name already; drop it first".to_owned(),
                    });
                }
                self.properties.insert(key, condition.clone());
                let constraint = deltalake_core::table::Constraint::new(name, condition);
                DeltaOperation::AddConstraint { constraints: vec![constraint] }
            }
            Alteration::DropCheck { name } => {
                if let Some(key) = self.constraint(name) {
                    self.properties.remove(&key);
                }
                DeltaOperation::DropConstraint { name: name.clone() }
            }
            Alteration::Comment(comment) => {
                self.comment.clone_from(comment);
                properties(&Properties::new())
            }
            Alteration::ColumnComment { column, comment } => {
                let field = self.field(column)?;
                let metadata = field.entry("metadata").or_insert_with(|| json!({}));
                if let Some(metadata) = metadata.as_object_mut() {
                    match comment {
                        Some(comment) => metadata.insert(COMMENT.to_owned(), json!(comment)),
                        None => metadata.remove(COMMENT),
                    };
                }
                properties(&Properties::new())
            }
        })
    }

    /// The property that holds a constraint; names are compared without case.
    fn constraint(&self, name: &str) -> Option<String> {
        let key = format!("{CONSTRAINT_PREFIX}{name}");
        self.properties.keys().find(|other| other.eq_ignore_ascii_case(&key)).cloned()
    }

    fn field(&mut self, column: &str) -> Result<&mut Map<String, Value>, LakeError> {
        let missing = self.column_error(column, "the table has no such column");
        let fields = self.fields.get_mut("fields").and_then(Value::as_array_mut);
        fields
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .find(|field| field.get("name").and_then(Value::as_str) == Some(column))
            .ok_or(missing)
    }

    fn add_columns(
        &mut self,
        base: &Snapshot,
        columns: &SchemaRef,
    ) -> Result<Vec<deltalake_core::kernel::StructField>, LakeError> {
        if base.properties().get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            return Err(LakeError::Unsupported {
                location: self.location.clone(),
                feature: "columnMapping".to_owned(),
                access: "add columns to",
            });
        }
        for column in columns.fields() {
            let taken = |old: &str| old.to_lowercase() == column.name().to_lowercase();
            if self.schema.fields().iter().any(|old| taken(old.name())) {
                return Err(self.column_error(
                    column.name(),
                    "the table has a column of that name already, upper and lower case alike",
                ));
            }
            if !column.is_nullable() {
                return Err(self.column_error(
                    column.name(),
                    "a new column cannot be NOT NULL: rows that are there have no value in it",
                ));
            }
        }
        let added = delta_schema_at(&self.location, columns)?;
        let kernel = kernel_schema(&self.location, &added)?;
        let fields: Vec<_> = kernel.fields().cloned().collect();
        let internal =
            |error| LakeError::internal("write table metadata", self.location.clone(), error);
        for field in &fields {
            let field = serde_json::to_value(field).map_err(internal)?;
            if let Some(all) = self.fields.get_mut("fields").and_then(Value::as_array_mut) {
                all.push(field);
            }
        }
        let all = self.schema.fields().iter().chain(added.fields()).cloned();
        self.schema = Arc::new(Schema::new(all.collect::<Vec<_>>()));
        Ok(fields)
    }

    fn metadata(&self, mut old: Value) -> Result<Metadata, LakeError> {
        let internal =
            |error| LakeError::internal("write table metadata", self.location.clone(), error);
        if let Some(map) = old.as_object_mut() {
            let schema = serde_json::to_string(&self.fields).map_err(internal)?;
            map.insert("schemaString".to_owned(), json!(schema));
            map.insert("configuration".to_owned(), json!(self.properties));
            map.insert("description".to_owned(), json!(self.comment));
        }
        serde_json::from_value(old).map_err(internal)
    }
}
