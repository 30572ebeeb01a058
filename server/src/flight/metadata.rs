//! What drivers ask about catalogs, schemas, tables and keys.
//!
//! Every answer has the columns of the specification, in its order and with its nullability: JDBC
//! reads them by position.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::{
    error::FlightError,
    sql::{
        Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys,
        CommandGetTableTypes, CommandGetTables,
    },
};
use model::name::CATALOG;
use query::{
    describe::{TABLE_TYPES, TableFilter, TableInfo},
    session::Session,
};
use tonic::Status;

use super::{FlightSql, type_info};
use crate::error::{internal, status};

impl FlightSql {
    /// The columns of the answer to a metadata command; `None` for another command.
    pub(super) fn metadata_schema(&self, command: &Command) -> Option<SchemaRef> {
        Some(match command {
            Command::CommandGetCatalogs(_) => CommandGetCatalogs {}.into_builder().schema(),
            Command::CommandGetDbSchemas(command) => command.clone().into_builder().schema(),
            Command::CommandGetTables(command) => command.clone().into_builder().schema(),
            Command::CommandGetTableTypes(_) => CommandGetTableTypes {}.into_builder().schema(),
            Command::CommandGetPrimaryKeys(_) => Arc::clone(&PRIMARY_KEYS),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Arc::clone(&FOREIGN_KEYS),
            Command::CommandGetSqlInfo(_) => self.inner.sql_info.schema(),
            Command::CommandGetXdbcTypeInfo(_) => self.inner.type_info.schema(),
            _ => return None,
        })
    }

    /// The rows of the answer to a metadata command; `None` for another command.
    pub(super) async fn metadata(
        &self,
        session: &Session,
        command: Command,
    ) -> Result<Option<RecordBatch>, Status> {
        let rows = match command {
            Command::CommandGetCatalogs(command) => {
                let mut rows = command.into_builder();
                rows.append(CATALOG);
                rows.build()
            }
            Command::CommandGetDbSchemas(command) => {
                let pattern = command.db_schema_filter_pattern.as_deref();
                let names = self.inner.queries.schemas(session, pattern).await;
                let names = names.map_err(|error| status(&error))?;
                db_schemas(command, &names)
            }
            Command::CommandGetTables(command) => {
                let tables = self.inner.queries.tables(session, &filter(&command)).await;
                tables_rows(command, &tables.map_err(|error| status(&error))?)
            }
            Command::CommandGetTableTypes(command) => {
                let mut rows = command.into_builder();
                TABLE_TYPES.into_iter().for_each(|table_type| rows.append(table_type));
                rows.build()
            }
            Command::CommandGetPrimaryKeys(command) => {
                let filter = TableFilter {
                    schema: command.db_schema.as_deref().map(exactly),
                    name: Some(exactly(&command.table)),
                    types: None,
                    with_columns: false,
                };
                let tables = self.inner.queries.tables(session, &filter).await;
                primary_keys(&command, &tables.map_err(|error| status(&error))?)
            }
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => {
                Ok(RecordBatch::new_empty(Arc::clone(&FOREIGN_KEYS)))
            }
            Command::CommandGetSqlInfo(mut command) => {
                // Older JDBC drivers ask for all, and fail on those that came after them.
                if command.info.is_empty() {
                    command.info.clone_from(&self.inner.sql_info_of_old);
                }
                command.into_builder(&self.inner.sql_info).build()
            }
            Command::CommandGetXdbcTypeInfo(command) => {
                command.into_builder(&self.inner.type_info).build()
            }
            _ => return Ok(None),
        };
        rows.map(Some).map_err(|error| internal("answer a metadata call", &error))
    }
}

fn db_schemas(command: CommandGetDbSchemas, names: &[String]) -> Result<RecordBatch, FlightError> {
    let mut rows = command.into_builder();
    names.iter().for_each(|name| rows.append(CATALOG, name));
    rows.build()
}

fn filter(command: &CommandGetTables) -> TableFilter {
    let types = (!command.table_types.is_empty()).then(|| command.table_types.clone());
    TableFilter {
        schema: command.db_schema_filter_pattern.clone(),
        name: command.table_name_filter_pattern.clone(),
        types,
        with_columns: command.include_schema,
    }
}

fn tables_rows(
    command: CommandGetTables,
    tables: &[TableInfo],
) -> Result<RecordBatch, FlightError> {
    let mut rows = command.into_builder();
    for table in tables {
        let columns = table.columns.as_ref().map_or_else(Schema::empty, |columns| {
            described_columns(table.name.schema(), table.name.name(), columns)
        });
        let (schema, name) = (table.name.schema(), table.name.name());
        rows.append(CATALOG, schema, name, table.table_type, &columns)?;
    }
    rows.build()
}

/// Columns with what the specification lets drivers know of each: they show its SQL type.
fn described_columns(schema: &str, table: &str, columns: &Schema) -> Schema {
    let columns = columns.fields().iter().map(|field| {
        let mut facts = HashMap::from([
            ("CATALOG_NAME", CATALOG.to_owned()),
            // As FlightSql.proto has it, and as the drivers read it.
            ("DB_SCHEMA_NAME", schema.to_owned()),
            ("SCHEMA_NAME", schema.to_owned()),
            ("TABLE_NAME", table.to_owned()),
            ("TYPE_NAME", type_info::sql_type(field.data_type())),
            ("IS_AUTO_INCREMENT", "0".to_owned()),
            ("IS_CASE_SENSITIVE", u8::from(type_info::is_text(field.data_type())).to_string()),
            ("IS_READ_ONLY", "0".to_owned()),
            ("IS_SEARCHABLE", "1".to_owned()),
        ]);
        if let DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) =
            field.data_type()
        {
            facts.insert("PRECISION", precision.to_string());
            facts.insert("SCALE", scale.to_string());
        }
        let facts = facts.into_iter();
        let facts = facts.map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value));
        let own = field.metadata().iter().map(|(key, value)| (key.clone(), value.clone()));
        field.as_ref().clone().with_metadata(own.chain(facts).collect())
    });
    Schema::new(columns.collect::<Vec<_>>())
}

/// A LIKE pattern that only the text itself fits.
fn exactly(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn primary_keys(
    command: &CommandGetPrimaryKeys,
    tables: &[TableInfo],
) -> Result<RecordBatch, FlightError> {
    let catalog_fits = command.catalog.as_deref().is_none_or(|catalog| catalog == CATALOG);
    let columns: Vec<(&TableInfo, &str, i32)> = tables
        .iter()
        .filter(|_| catalog_fits)
        .flat_map(|table| (1..).zip(&table.primary_key).map(move |(n, key)| (table, &**key, n)))
        .collect();
    let text = |value: &dyn Fn(&TableInfo) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(columns.iter().map(|(table, ..)| value(table))))
    };
    let key_columns = StringArray::from_iter_values(columns.iter().map(|(_, column, _)| *column));
    let sequence = Int32Array::from_iter_values(columns.iter().map(|(.., n)| *n));
    Ok(RecordBatch::try_new(
        Arc::clone(&PRIMARY_KEYS),
        vec![
            text(&|_| CATALOG.to_owned()),
            text(&|table| table.name.schema().to_owned()),
            text(&|table| table.name.name().to_owned()),
            Arc::new(key_columns),
            text(&|table| format!("{}_pk", table.name.name())),
            Arc::new(sequence),
        ],
    )?)
}

static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

#[cfg(test)]
mod tests {
    use model::name::ObjectName;

    use super::*;

    fn table(schema: &str, name: &str, primary_key: &[&str]) -> TableInfo {
        let columns = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("price", DataType::Decimal128(12, 2), true),
        ]);
        TableInfo {
            name: ObjectName::new(schema, name).unwrap(),
            table_type: "TABLE",
            columns: Some(Arc::new(columns)),
            stored: None,
            checks: Vec::new(),
            primary_key: primary_key.iter().map(|column| (*column).to_owned()).collect(),
            comment: None,
        }
    }

    #[test]
    fn tables_are_filtered_and_their_columns_typed() {
        let command = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: None,
            table_name_filter_pattern: Some("fl%".to_owned()),
            table_types: vec![],
            include_schema: true,
        };
        let tables = [table("main", "flights", &[]), table("main", "airports", &[])];
        let rows = tables_rows(command, &tables).unwrap();
        assert_eq!((rows.num_rows(), rows.num_columns()), (1, 5));
        let described = described_columns("main", "flights", tables[0].columns.as_ref().unwrap());
        let price = described.field(1).metadata();
        assert_eq!(price["ARROW:FLIGHT:SQL:TYPE_NAME"], "DECIMAL");
        assert_eq!(price["ARROW:FLIGHT:SQL:PRECISION"], "12");
        assert_eq!(price["ARROW:FLIGHT:SQL:TABLE_NAME"], "flights");
    }

    #[test]
    fn a_catalog_that_is_not_there_has_no_tables() {
        let command = CommandGetTables { catalog: Some("other".to_owned()), ..Default::default() };
        assert_eq!(tables_rows(command, &[table("main", "t", &[])]).unwrap().num_rows(), 0);
    }

    #[test]
    fn primary_keys_are_numbered_in_their_order() {
        let command = CommandGetPrimaryKeys { table: "t".to_owned(), ..Default::default() };
        let tables = [table("main", "t", &["b", "a"]), table("main", "u", &[])];
        let rows = primary_keys(&command, &tables).unwrap();
        let column = |n: usize| rows.column(n).as_any().downcast_ref::<StringArray>().unwrap();
        let names: Vec<_> = column(3).iter().flatten().collect();
        assert_eq!(names, ["b", "a"]);
        let sequence = rows.column(5).as_any().downcast_ref::<Int32Array>().unwrap();
        assert_eq!(sequence.values(), &[1, 2]);
        let elsewhere = CommandGetPrimaryKeys { catalog: Some("x".to_owned()), ..command };
        assert_eq!(primary_keys(&elsewhere, &tables).unwrap().num_rows(), 0);
    }

    #[test]
    fn an_exact_pattern_escapes_wildcards() {
        assert_eq!(exactly("a_b%c\\"), "a\\_b\\%c\\\\");
    }
}
