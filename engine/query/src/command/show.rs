//! SHOW and DESCRIBE: small answers about what there is.

use arrow::record_batch::RecordBatch;
use dialect::statement::{DropKind, Show};
use lake::At;
use model::{
    clustering::{self, CLUSTER_BY},
    name::{ObjectName, quote},
    object::{Object, ObjectBody, ObjectKind, Properties, Table, TableFormat},
    rights::{Columns, Rights},
};

use super::generated;
use crate::{
    answer::{Answer, count},
    describe::{self, TableFilter},
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// The rows of a SHOW or DESCRIBE statement, settings excepted.
pub(crate) async fn rows(
    inner: &Inner,
    session: &Session,
    show: &Show,
) -> Result<RecordBatch, QueryError> {
    match show {
        Show::Schemas => {
            let schemas = inner.options.catalog.schemas().await?;
            Ok(Answer::new()
                .text("schema", schemas.iter().map(|schema| schema.name.as_str()))
                .maybe_text("comment", schemas.iter().map(|schema| schema.comment.as_deref()))
                .finish())
        }
        Show::Tables { schema, kind } => tables(inner, session, schema.as_deref(), *kind).await,
        Show::Columns { name } => columns(inner, session, name).await,
        Show::History { name, limit } => history(inner, session, name, *limit).await,
        Show::Detail { name } => detail(inner, session, name).await,
        Show::Create { name } => {
            let name = ObjectName::from_parts(name, session.schema())?;
            let object = inner.object_named(session, &name).await?;
            let rights = inner.rights(session.principal()).await?;
            let statement = create_statement(inner, &rights, &object).await?;
            Ok(Answer::new()
                .text("name", [name.to_string()])
                .text("create_statement", [statement])
                .finish())
        }
        Show::Setting { .. } => {
            Err(QueryError::Unsupported("SHOW of a setting is planned as a query".to_owned()))
        }
    }
}

/// The name of a setting, or the error that names the nearest one.
pub(super) fn setting<'a>(inner: &Inner, key: &'a str) -> Result<&'a str, QueryError> {
    let state = inner.state("main");
    let entries = state.config_options().entries();
    if entries.iter().any(|entry| entry.key == key) {
        return Ok(key);
    }
    let nearest = entries
        .iter()
        .map(|entry| (strsim::jaro_winkler(&entry.key, key), &entry.key))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, nearest)| format!("; the nearest is '{nearest}'"));
    Err(QueryError::Invalid(format!("there is no setting '{key}'{nearest}; SHOW ALL lists them")))
}

async fn tables(
    inner: &Inner,
    session: &Session,
    schema: Option<&str>,
    kind: Option<DropKind>,
) -> Result<RecordBatch, QueryError> {
    if let Some(schema) = schema {
        let schemas = inner.options.catalog.schemas().await?;
        if !schemas.iter().any(|known| known.name == schema) {
            return Err(catalog::error::CatalogError::SchemaNotFound(schema.to_owned()).into());
        }
    }
    let kind = kind.map(kind_of);
    let rights = inner.rights(session.principal()).await?;
    let mut objects = inner.options.catalog.objects().await?;
    objects.retain(|object| {
        rights.sees(object)
            && schema.is_none_or(|schema| object.name.schema() == schema)
            && kind.is_none_or(|kind| object.kind() == kind)
    });
    Ok(Answer::new()
        .text("schema", objects.iter().map(|object| object.name.schema()))
        .text("name", objects.iter().map(|object| object.name.name()))
        .text("type", objects.iter().map(|object| object.kind().as_sql()))
        .maybe_text("comment", objects.iter().map(|object| object.comment.as_deref()))
        .finish())
}

/// The kind of object that a statement says.
pub(super) fn kind_of(kind: DropKind) -> ObjectKind {
    match kind {
        DropKind::Table => ObjectKind::Table,
        DropKind::View => ObjectKind::View,
        DropKind::MaterializedView => ObjectKind::MaterializedView,
        DropKind::StreamingTable => ObjectKind::StreamingTable,
    }
}

async fn columns(
    inner: &Inner,
    session: &Session,
    name: &[String],
) -> Result<RecordBatch, QueryError> {
    let name = ObjectName::from_parts(name, session.schema())?;
    if model::name::RESERVED_SCHEMAS.contains(&name.schema()) {
        return system_columns(inner, session, name).await;
    }
    let object = inner.object_named(session, &name).await?;
    let rights = inner.rights(session.principal()).await?;
    let schema = describe::columns(inner, &rights, &object).await?;
    let partitions = partitions(inner, &object).await?;
    let fields = schema.fields();
    Ok(Answer::new()
        .text("column", fields.iter().map(|field| field.name().as_str()))
        .text("type", fields.iter().map(|field| field.data_type().to_string()))
        .flag("nullable", fields.iter().map(|field| field.is_nullable()))
        .flag("partition", fields.iter().map(|field| partitions.contains(field.name())))
        .maybe_text(
            "comment",
            fields.iter().map(|field| {
                let declared = declared_comment(&object, field.name());
                declared.or_else(|| field.metadata().get("comment").cloned())
            }),
        )
        .maybe_text("generated", fields.iter().map(|field| generated::expression_of(field)))
        .finish())
}

async fn system_columns(
    inner: &Inner,
    session: &Session,
    name: ObjectName,
) -> Result<RecordBatch, QueryError> {
    let filter = TableFilter {
        schema: Some(name.schema().replace('_', "\\_")),
        name: Some(name.name().replace('_', "\\_")),
        types: None,
        with_columns: true,
    };
    let table = Queries::tables_of(inner, session, &filter).await?.pop();
    let Some(columns) = table.and_then(|table| table.columns) else {
        return Err(inner.missing(session, name).await);
    };
    let fields = columns.fields();
    Ok(Answer::new()
        .text("column", fields.iter().map(|field| field.name().as_str()))
        .text("type", fields.iter().map(|field| field.data_type().to_string()))
        .flag("nullable", fields.iter().map(|field| field.is_nullable()))
        .flag("partition", fields.iter().map(|_| false))
        .maybe_text("comment", fields.iter().map(|_| None::<String>))
        .maybe_text("generated", fields.iter().map(|_| None::<String>))
        .finish())
}

fn declared_comment(object: &Object, column: &str) -> Option<String> {
    let view = object.transform()?;
    view.columns.iter().find(|declared| declared.name == column)?.comment.clone()
}

async fn partitions(inner: &Inner, object: &Object) -> Result<Vec<String>, QueryError> {
    match &object.body {
        ObjectBody::Table(table) if table.format == TableFormat::Delta => {
            let snapshot = inner.options.lake.snapshot(&table.location, At::Latest).await?;
            Ok(snapshot.partitioned_by().to_vec())
        }
        // A condition on them leaves out files, as one on partitions does.
        ObjectBody::Table(table) => {
            Ok(table.path_columns.iter().map(|column| column.name.clone()).collect())
        }
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
            Ok(view.partitioned_by.clone())
        }
        ObjectBody::View(_) => Ok(Vec::new()),
    }
}

/// A statement that makes the object again, as far as somebody with these rights knows a table. Views
/// are shown as their author wrote them.
async fn create_statement(
    inner: &Inner,
    rights: &Rights,
    object: &Object,
) -> Result<String, QueryError> {
    let table = match &object.body {
        ObjectBody::View(view) => return Ok(view.definition.clone()),
        ObjectBody::MaterializedView(view) => return Ok(view.definition.clone()),
        ObjectBody::StreamingTable(view) => {
            let own = [view.definition.clone()].into_iter();
            let all: Vec<_> = own.chain(super::streaming::create_statements(object)?).collect();
            return Ok(all.join(";\n\n"));
        }
        ObjectBody::Table(table) => table,
    };
    let name = object.name.to_sql();
    let mut text = if table.external {
        format!(
            "CREATE EXTERNAL TABLE {name}\nUSING {}\nLOCATION {}",
            table.format.as_sql(),
            literal(&table.location)
        ) + &of_folders(table)
    } else {
        managed_table(inner, rights, object, table).await?
    };
    if let Some(comment) = &object.comment {
        text.push_str(&format!("\nCOMMENT {}", literal(comment)));
    }
    push_map(&mut text, "OPTIONS", &table.options);
    // Its clause says it, unless there are columns that were not granted; a table that lies somewhere has
    // it in its log.
    let mut properties = object.properties.clone();
    properties.remove(CLUSTER_BY);
    push_map(&mut text, "TBLPROPERTIES", &properties);
    Ok(text)
}

/// PATH COLUMNS and COMPLETE WHEN, each on a line of its own.
fn of_folders(table: &Table) -> String {
    let mut text = String::new();
    if !table.path_columns.is_empty() {
        let columns = table.path_columns.iter();
        let columns: Vec<String> =
            columns.map(|column| format!("{} {}", quote(&column.name), column.data_type)).collect();
        text.push_str(&format!("\nPATH COLUMNS ({})", columns.join(", ")));
    }
    if let Some(marker) = &table.complete_when {
        text.push_str(&format!("\nCOMPLETE WHEN {}", literal(marker)));
    }
    text
}

async fn managed_table(
    inner: &Inner,
    rights: &Rights,
    object: &Object,
    table: &Table,
) -> Result<String, QueryError> {
    // The statement is that of the whole table, unless there are columns that were not granted: these
    // do not exist, and a part of a key, or a condition, would say what is not so.
    let everything = Rights::everything("");
    let is_part = matches!(rights.columns(object), Some(Columns::Some(_)));
    let rights = if is_part { rights } else { &everything };
    let schema = describe::columns(inner, rights, object).await?;
    let is_known = |column: &String| schema.field_with_name(column).is_ok();
    let mut partitions = partitions(inner, object).await?;
    partitions.retain(is_known);
    let mut columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
            let comment = field.metadata().get("comment");
            let comment =
                comment.map_or(String::new(), |text| format!(" COMMENT {}", literal(text)));
            let generated = generated::expression_of(field);
            let generated =
                generated.map_or(String::new(), |text| format!(" GENERATED ALWAYS AS ({text})"));
            let data_type = sql_type(field.data_type());
            format!("  {} {data_type}{generated}{not_null}{comment}", quote(field.name()))
        })
        .collect();
    if !table.primary_key.is_empty() && table.primary_key.iter().all(is_known) {
        columns.push(format!("  PRIMARY KEY ({})", quoted_list(&table.primary_key)));
    }
    let snapshot = inner.options.lake.snapshot(&table.location, At::Latest).await?;
    for (check, condition) in snapshot.constraints().filter(|_| !is_part) {
        columns.push(format!("  CONSTRAINT {} CHECK ({condition})", quote(check)));
    }
    let (name, columns) = (object.name.to_sql(), columns.join(",\n"));
    let mut text = format!("CREATE TABLE {name} (\n{columns}\n)\nUSING DELTA");
    if !partitions.is_empty() {
        text.push_str(&format!("\nPARTITIONED BY ({})", quoted_list(&partitions)));
    }
    let cluster_by = clustering::columns(&object.properties).unwrap_or_default();
    if !cluster_by.is_empty() && cluster_by.iter().all(is_known) {
        text.push_str(&format!("\nCLUSTER BY ({})", quoted_list(&cluster_by)));
    }
    Ok(text)
}

/// The SQL word for an Arrow type, as CREATE TABLE reads it.
pub(crate) fn sql_type(data_type: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType as T;
    match data_type {
        T::Boolean => "BOOLEAN".to_owned(),
        T::Int8 => "TINYINT".to_owned(),
        T::Int16 => "SMALLINT".to_owned(),
        T::Int32 => "INT".to_owned(),
        T::Int64 => "BIGINT".to_owned(),
        T::Float32 => "FLOAT".to_owned(),
        T::Float64 => "DOUBLE".to_owned(),
        T::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        T::Utf8 | T::Utf8View | T::LargeUtf8 => "VARCHAR".to_owned(),
        T::Binary | T::BinaryView | T::LargeBinary => "BYTEA".to_owned(),
        T::Date32 => "DATE".to_owned(),
        T::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        T::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        T::List(item) | T::LargeList(item) | T::ListView(item) => {
            format!("{}[]", sql_type(item.data_type()))
        }
        T::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| format!("{} {}", quote(field.name()), sql_type(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => {
                let (key, value) = (fields[0].data_type(), fields[1].data_type());
                format!("MAP<{}, {}>", sql_type(key), sql_type(value))
            }
            _ => data_type.to_string(),
        },
        other => other.to_string(),
    }
}

fn push_map(text: &mut String, word: &str, map: &Properties) {
    if map.is_empty() {
        return;
    }
    let pairs = map.iter().map(|(key, value)| format!("{} = {}", literal(key), literal(value)));
    text.push_str(&format!("\n{word} ({})", pairs.collect::<Vec<_>>().join(", ")));
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The commits of a Delta table, newest first.
async fn history(
    inner: &Inner,
    session: &Session,
    name: &[String],
    limit: Option<u64>,
) -> Result<RecordBatch, QueryError> {
    let location = delta_location(inner, session, name).await?;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let history = inner.options.lake.history(&location, limit).await?;
    let each = || history.iter();
    Ok(Answer::new()
        .number("version", each().map(|commit| commit.version))
        .time("timestamp", each().map(|commit| commit.committed_at))
        .text("operation", each().map(|commit| commit.operation.as_str()))
        .maybe_text("operation_parameters", each().map(|commit| commit.parameters.as_deref()))
        .maybe_text("operation_metrics", each().map(|commit| commit.metrics.as_deref()))
        .number("read_version", each().map(|commit| commit.read_version))
        .maybe_text(
            "is_blind_append",
            each().map(|commit| {
                commit.blind_append.map(|blind| if blind { "true" } else { "false" })
            }),
        )
        .maybe_text("engine_info", each().map(|commit| commit.engine.as_deref()))
        .finish())
}

/// What a Delta table is made of at its newest version.
async fn detail(
    inner: &Inner,
    session: &Session,
    name: &[String],
) -> Result<RecordBatch, QueryError> {
    let location = delta_location(inner, session, name).await?;
    let table = inner.options.lake.snapshot(&location, At::Latest).await?;
    let properties = table.properties().iter();
    let properties = properties.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let (reader, writer, features) = table.protocol();
    Ok(Answer::new()
        .text("format", ["delta"])
        .text("id", [table.table_id()])
        .text("name", [name.join(".")])
        .maybe_text("description", [table.comment()])
        .text("location", [table.location()])
        .time("last_modified", [table.committed_at()])
        .number("version", [table.version()])
        .text("partition_columns", [table.partitioned_by().join(", ")])
        .number("num_files", [count(table.files() as u64)])
        .number("size_in_bytes", [count(table.bytes())])
        .number("num_rows", [table.rows().map(count)])
        .text("properties", [properties.join(", ")])
        .number("min_reader_version", [i64::from(reader)])
        .number("min_writer_version", [i64::from(writer)])
        .text("table_features", [features.join(", ")])
        .finish())
}

/// Where a Delta table is, or the result of a materialized view.
pub(super) async fn delta_location(
    inner: &Inner,
    session: &Session,
    name: &[String],
) -> Result<String, QueryError> {
    let name = ObjectName::from_parts(name, session.schema())?;
    delta_location_of(&inner.object_named(session, &name).await?)
}

/// As above, for an object.
pub(crate) fn delta_location_of(object: &Object) -> Result<String, QueryError> {
    match &object.body {
        ObjectBody::Table(Table { format: TableFormat::Delta, location, .. }) => {
            Ok(location.clone())
        }
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
            Ok(view.location.clone())
        }
        ObjectBody::Table(_) | ObjectBody::View(_) => {
            Err(super::tables::wrong_kind(object, "without a Delta log"))
        }
    }
}
