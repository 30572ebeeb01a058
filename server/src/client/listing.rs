//! `\d` and its relatives: what there is on the server, through the metadata calls of Flight SQL.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Field, Schema},
    ipc::convert::try_schema_from_ipc_buffer,
};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};

use super::{ClientError, Connection, TextTable};

/// Tables, views and transforms; those of the system are left out unless they are asked for.
pub(super) async fn tables(
    connection: &mut Connection,
    only_views: Option<OnlyViews>,
) -> Result<String, ClientError> {
    let batches = get_tables(connection, None, None, WithSchema::No).await?;
    let mut table = TextTable::new(&["schema", "name", "kind"]);
    for found in batches.iter().flat_map(found) {
        let system = matches!(found.schema.as_str(), "system" | "information_schema");
        let wanted = match only_views {
            None => !system,
            Some(OnlyViews) => !system && found.kind.to_ascii_uppercase().contains("VIEW"),
        };
        if wanted {
            table.push(vec![found.schema, found.name, found.kind]);
        }
    }
    Ok(table.render())
}

/// Marks that only views are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlyViews;

/// Schemas.
pub(super) async fn schemas(connection: &mut Connection) -> Result<String, ClientError> {
    let request = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = connection.flight().get_db_schemas(request).await?;
    let batches = connection.fetch(info).await?.collect().await?;
    let mut table = TextTable::new(&["catalog", "schema"]);
    for batch in &batches {
        for row in 0..batch.num_rows() {
            table.push(vec![text(batch, "catalog_name", row), text(batch, "db_schema_name", row)]);
        }
    }
    Ok(table.render())
}

/// Columns of the table with this name, which may have a schema in front.
pub(super) async fn columns(
    connection: &mut Connection,
    name: &str,
) -> Result<String, ClientError> {
    let parts = name_parts(name);
    let (schema, table_name) = match parts.as_slice() {
        [.., schema, table] => (Some(schema.as_str()), table.as_str()),
        [table] => (None, table.as_str()),
        [] => return Err(ClientError::Command("\\d NAME needs a name".to_owned())),
    };
    let pattern = |text: &str| text.replace('\\', "\\\\");
    let batches =
        get_tables(connection, schema.map(pattern), Some(pattern(table_name)), WithSchema::Yes)
            .await?;
    let mut shown = String::new();
    for found in batches.iter().flat_map(found) {
        // The server reads % and _ as wildcards; we mean this name.
        let meant = found.name == table_name && schema.is_none_or(|schema| schema == found.schema);
        if !meant {
            continue;
        }
        let Some(columns) = found.columns else { continue };
        shown.push_str(&format!("{} {}.{}\n", found.kind.to_lowercase(), found.schema, found.name));
        shown.push_str(&column_table(&columns));
    }
    if shown.is_empty() {
        return Err(ClientError::Command(format!("there is no table '{name}'; \\d lists them")));
    }
    Ok(shown)
}

fn column_table(schema: &Schema) -> String {
    let mut table = TextTable::new(&["column", "type", "null", "comment"]);
    for field in schema.fields() {
        let comment = field.metadata().get("comment").or_else(|| field.metadata().get("REMARKS"));
        table.push(vec![
            field.name().clone(),
            type_name(field),
            if field.is_nullable() { "yes" } else { "no" }.to_owned(),
            comment.cloned().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn type_name(field: &Field) -> String {
    let sql = match field.data_type() {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return format!("DECIMAL({precision}, {scale})");
        }
        other => return other.to_string(),
    };
    sql.to_owned()
}

enum WithSchema {
    Yes,
    No,
}

async fn get_tables(
    connection: &mut Connection,
    schema: Option<String>,
    name: Option<String>,
    with: WithSchema,
) -> Result<Vec<RecordBatch>, ClientError> {
    let request = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: schema,
        table_name_filter_pattern: name,
        table_types: Vec::new(),
        include_schema: matches!(with, WithSchema::Yes),
    };
    let info = connection.flight().get_tables(request).await?;
    connection.fetch(info).await?.collect().await
}

struct Found {
    schema: String,
    name: String,
    kind: String,
    columns: Option<Schema>,
}

fn found(batch: &RecordBatch) -> Vec<Found> {
    let schemas =
        batch.column_by_name("table_schema").and_then(|column| column.as_binary_opt::<i32>());
    (0..batch.num_rows())
        .map(|row| Found {
            schema: text(batch, "db_schema_name", row),
            name: text(batch, "table_name", row),
            kind: text(batch, "table_type", row),
            columns: schemas
                .filter(|schemas| schemas.is_valid(row))
                .and_then(|schemas| try_schema_from_ipc_buffer(schemas.value(row)).ok()),
        })
        .collect()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    batch
        .column_by_name(column)
        .and_then(|column| column.as_string_opt::<i32>())
        .filter(|column| column.is_valid(row))
        .map(|column| column.value(row).to_owned())
        .unwrap_or_default()
}

/// The parts of a name as SQL reads it: unquoted ones in lower case.
pub(super) fn name_parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for c in name.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let cases: [(&str, &[&str]); 4] = [
            ("Main.Daily", &["main", "daily"]),
            ("\"My.View\"", &["My.View"]),
            ("whimbrel.main.t", &["whimbrel", "main", "t"]),
            ("", &[]),
        ];
        for (name, parts) in cases {
            assert_eq!(name_parts(name), parts, "{name}");
        }
    }
}
