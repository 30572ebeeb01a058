//! What drivers ask before anybody types a statement.

use arrow::{
    array::{Array, BinaryArray},
    datatypes::{DataType, Field, UnionMode},
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, ProstMessageExt,
};
use arrow_flight::{FlightDescriptor, IpcMessage};
use prost::Message;
use whimbrel_tests::{client::Client, process::Server};

async fn client(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id BIGINT NOT NULL, price DECIMAL(8, 2), at TIMESTAMP, PRIMARY KEY (id));
             CREATE VIEW shop.big AS SELECT id FROM shop.orders;
             CREATE MATERIALIZED VIEW shop.totals (PRIMARY KEY (n))
               AS SELECT count(*) AS n FROM shop.orders",
        )
        .await;
    client.newest_job("shop.totals").await.expect("SUCCEEDED");
    client
}

fn tables(
    schema: Option<&str>,
    name: Option<&str>,
    types: &[&str],
    columns: bool,
) -> CommandGetTables {
    CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: schema.map(str::to_owned),
        table_name_filter_pattern: name.map(str::to_owned),
        table_types: types.iter().map(|&text| text.to_owned()).collect(),
        include_schema: columns,
    }
}

#[tokio::test]
async fn catalogs_schemas_and_table_types_are_listed() {
    let server = Server::start();
    let mut client = client(&server).await;
    assert_eq!(client.command(CommandGetCatalogs {}).await.lines(), ["whimbrel"]);
    let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let schemas = client.command(all).await.column("db_schema_name");
    assert_eq!(schemas, ["information_schema", "main", "shop", "system"]);
    let some = CommandGetDbSchemas {
        catalog: Some("whimbrel".into()),
        db_schema_filter_pattern: Some("s%p".into()),
    };
    assert_eq!(client.command(some).await.lines(), ["whimbrel|shop"]);
    let types = client.command(CommandGetTableTypes {}).await.lines();
    assert_eq!(types, ["MATERIALIZED VIEW", "SYSTEM TABLE", "TABLE", "VIEW"]);
}

#[tokio::test]
async fn tables_are_filtered_as_the_driver_asks() {
    let server = Server::start();
    let mut client = client(&server).await;
    let all = client.command(tables(Some("shop"), None, &[], false)).await;
    assert_eq!(
        all.lines(),
        [
            "whimbrel|shop|big|VIEW",
            "whimbrel|shop|orders|TABLE",
            "whimbrel|shop|totals|MATERIALIZED VIEW"
        ]
    );
    let one = client.command(tables(None, Some("ord%"), &["TABLE", "VIEW"], false)).await;
    assert_eq!(one.column("table_name"), ["orders"]);
    let none = client.command(tables(None, Some("ord%"), &["VIEW"], false)).await;
    assert!(none.is_empty());
    let system = client.command(tables(Some("system"), None, &["SYSTEM TABLE"], false)).await;
    assert_eq!(
        system.column("table_name"),
        [
            "audit",
            "expectation_results",
            "grants",
            "jobs",
            "leaders",
            "limits",
            "notifications",
            "queries",
            "roles",
            "run_inputs",
            "runs",
            "tables",
            "tokens",
            "transforms",
            "users",
            "verifications"
        ]
    );
}

#[tokio::test]
async fn the_columns_of_a_table_are_those_that_its_rows_have() {
    let server = Server::start();
    let mut client = client(&server).await;
    let listed = client.command(tables(Some("shop"), Some("orders"), &[], true)).await;
    let batch = &listed.batches[0];
    let column = batch.column_by_name("table_schema").unwrap();
    let bytes = column.as_any().downcast_ref::<BinaryArray>().unwrap();
    assert!(!bytes.is_null(0));
    let described =
        arrow::datatypes::Schema::try_from(IpcMessage(bytes.value(0).to_vec().into())).unwrap();
    let rows = client.query("SELECT * FROM shop.orders").await.schema;
    for (described, row) in described.fields().iter().zip(rows.fields()) {
        assert_eq!(described.name(), row.name());
        assert_eq!(described.data_type(), row.data_type());
        let told = |key: &str| &described.metadata()[&format!("ARROW:FLIGHT:SQL:{key}")];
        assert_eq!(
            (told("CATALOG_NAME").as_str(), told("TABLE_NAME").as_str()),
            ("whimbrel", "orders")
        );
        assert_eq!(
            (told("DB_SCHEMA_NAME").as_str(), told("SCHEMA_NAME").as_str()),
            ("shop", "shop")
        );
        assert!(!told("TYPE_NAME").is_empty());
    }
    let whole = client.command(tables(None, None, &[], true)).await;
    assert!(whole.len() >= 8, "every table, system tables too: {}", whole.len());
}

#[tokio::test]
async fn keys_are_those_that_were_declared() {
    let server = Server::start();
    let mut client = client(&server).await;
    let keys = client
        .command(CommandGetPrimaryKeys {
            catalog: None,
            db_schema: Some("shop".into()),
            table: "orders".into(),
        })
        .await;
    assert_eq!(keys.only("column_name"), "id");
    assert_eq!(keys.only("key_sequence"), "1");
    let table = || (None, Some("shop".to_owned()), "orders".to_owned());
    let (catalog, db_schema, name) = table();
    let exported = CommandGetExportedKeys { catalog, db_schema, table: name };
    assert!(client.command(exported).await.is_empty());
    let (catalog, db_schema, name) = table();
    let imported = CommandGetImportedKeys { catalog, db_schema, table: name };
    assert!(client.command(imported).await.is_empty());
    let cross = CommandGetCrossReference {
        pk_table: "orders".into(),
        fk_table: "orders".into(),
        ..CommandGetCrossReference::default()
    };
    assert!(client.command(cross).await.is_empty());
}

#[tokio::test]
async fn sql_info_and_type_info_are_answered() {
    let server = Server::start();
    let mut client = client(&server).await;
    let all = client.command(CommandGetSqlInfo { info: Vec::new() }).await;
    assert!(all.len() > 20, "{}", all.len());
    let name = client.command(CommandGetSqlInfo { info: vec![0] }).await;
    assert!(name.text().to_lowercase().contains("whimbrel"), "{}", name.text());
    let types = client.command(CommandGetXdbcTypeInfo { data_type: None }).await;
    let names = types.column("type_name");
    for expected in ["BIGINT", "DECIMAL", "DATE", "TIMESTAMP", "BOOLEAN"] {
        assert!(names.iter().any(|name| name == expected), "no {expected} among {names:?}");
    }
}

/// Columns as FlightSql.proto writes them.
const CATALOGS: &str = "catalog_name: utf8 not null";
const DB_SCHEMAS: &str = "catalog_name: utf8, db_schema_name: utf8 not null";
const TABLES: &str = "catalog_name: utf8, db_schema_name: utf8, table_name: utf8 not null, table_type: utf8 not null";
const TABLES_WITH_SCHEMA: &str = "catalog_name: utf8, db_schema_name: utf8, table_name: utf8 not null, table_type: utf8 not null, table_schema: bytes not null";
const TABLE_TYPES: &str = "table_type: utf8 not null";
const PRIMARY_KEYS: &str = "catalog_name: utf8, db_schema_name: utf8, table_name: utf8 not null, column_name: utf8 not null, key_name: utf8, key_sequence: int32 not null";
const FOREIGN_KEYS: &str = "pk_catalog_name: utf8, pk_db_schema_name: utf8, pk_table_name: utf8 not null, pk_column_name: utf8 not null, fk_catalog_name: utf8, fk_db_schema_name: utf8, fk_table_name: utf8 not null, fk_column_name: utf8 not null, key_sequence: int32 not null, fk_key_name: utf8, pk_key_name: utf8, update_rule: uint8 not null, delete_rule: uint8 not null";
const TYPE_INFO: &str = "type_name: utf8 not null, data_type: int32 not null, column_size: int32, literal_prefix: utf8, literal_suffix: utf8, create_params: list<utf8 not null>, nullable: int32 not null, case_sensitive: bool not null, searchable: int32 not null, unsigned_attribute: bool, fixed_prec_scale: bool not null, auto_increment: bool, local_type_name: utf8, minimum_scale: int32, maximum_scale: int32, sql_data_type: int32 not null, datetime_subcode: int32, num_prec_radix: int32, interval_precision: int32";
const SQL_INFO: &str = "info_name: uint32 not null, value: dense_union<string_value: utf8, bool_value: bool, bigint_value: int64, int32_bitmask: int32, string_list: list<utf8>, int32_to_int32_list_map: map<int32, list<int32>>> not null";

fn written(field: &Field) -> String {
    let not_null = if field.is_nullable() { "" } else { " not null" };
    format!("{}: {}{not_null}", field.name(), type_of(field.data_type()))
}

fn type_of(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "utf8".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::UInt8 => "uint8".to_owned(),
        DataType::Int32 => "int32".to_owned(),
        DataType::UInt32 => "uint32".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::List(item) => {
            let not_null = if item.is_nullable() { "" } else { " not null" };
            format!("list<{}{not_null}>", type_of(item.data_type()))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                format!(
                    "map<{}, {}>",
                    type_of(fields[0].data_type()),
                    type_of(fields[1].data_type())
                )
            }
            other => panic!("a map of {other}"),
        },
        DataType::Union(fields, UnionMode::Dense) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(_, field)| format!("{}: {}", field.name(), type_of(field.data_type())))
                .collect();
            format!("dense_union<{}>", fields.join(", "))
        }
        other => panic!("no answer has a {other}"),
    }
}

/// Asks in all three ways; the columns have to be these, the rows in the order of the columns named.
async fn has_columns(
    client: &mut Client,
    command: impl ProstMessageExt + Clone,
    columns: &str,
    ordered_by: &[&str],
) {
    let answer = client.command(command.clone()).await;
    let found: Vec<_> = answer.schema.fields().iter().map(|field| written(field)).collect();
    assert_eq!(found.join(", "), columns);
    let any = command.as_any().encode_to_vec();
    let schema = client.flight().inner_mut().get_schema(FlightDescriptor::new_cmd(any)).await;
    let schema = arrow::datatypes::Schema::try_from(&schema.unwrap().into_inner()).unwrap();
    assert_eq!(&schema, answer.schema.as_ref(), "GetSchema");
    let keys: Vec<Vec<String>> = ordered_by.iter().map(|name| answer.column(name)).collect();
    let rows: Vec<Vec<&String>> =
        (0..answer.len()).map(|row| keys.iter().map(|key| &key[row]).collect()).collect();
    assert!(rows.is_sorted(), "{rows:?}");
}

#[tokio::test]
async fn every_answer_has_the_columns_and_the_order_of_the_specification() {
    let server = Server::start();
    let mut client = client(&server).await;
    let client = &mut client;
    let some = || Some("shop".to_owned());
    has_columns(client, CommandGetCatalogs {}, CATALOGS, &["catalog_name"]).await;
    let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    has_columns(client, schemas, DB_SCHEMAS, &["catalog_name", "db_schema_name"]).await;
    let order = ["catalog_name", "db_schema_name", "table_name", "table_type"];
    has_columns(client, tables(None, None, &[], false), TABLES, &order).await;
    has_columns(client, tables(None, None, &[], true), TABLES_WITH_SCHEMA, &order).await;
    has_columns(client, CommandGetTableTypes {}, TABLE_TYPES, &["table_type"]).await;
    let table = "orders".to_owned();
    let keys = CommandGetPrimaryKeys { catalog: None, db_schema: some(), table: table.clone() };
    let order = ["catalog_name", "db_schema_name", "table_name", "key_name", "key_sequence"];
    has_columns(client, keys, PRIMARY_KEYS, &order).await;
    let exported =
        CommandGetExportedKeys { catalog: None, db_schema: some(), table: table.clone() };
    has_columns(client, exported, FOREIGN_KEYS, &[]).await;
    let imported =
        CommandGetImportedKeys { catalog: None, db_schema: some(), table: table.clone() };
    has_columns(client, imported, FOREIGN_KEYS, &[]).await;
    let cross = CommandGetCrossReference {
        pk_table: table.clone(),
        fk_table: table,
        ..CommandGetCrossReference::default()
    };
    has_columns(client, cross, FOREIGN_KEYS, &[]).await;
    has_columns(client, CommandGetSqlInfo { info: Vec::new() }, SQL_INFO, &[]).await;
    has_columns(client, CommandGetXdbcTypeInfo { data_type: None }, TYPE_INFO, &[]).await;
    let types = client.command(CommandGetXdbcTypeInfo { data_type: None }).await;
    let number = |name: &str| -> Vec<i32> {
        types.column(name).iter().map(|number| number.parse().unwrap()).collect()
    };
    let (numbers, names) = (number("data_type"), types.column("type_name"));
    let order: Vec<_> = numbers.iter().zip(&names).collect();
    assert!(order.is_sorted(), "by data_type and type_name: {order:?}");
}

#[tokio::test]
async fn every_filter_filters() {
    let server = Server::start();
    let mut client = client(&server).await;
    let other = || Some("other".to_owned());
    let of_other = CommandGetTables { catalog: other(), ..tables(None, None, &[], false) };
    assert!(client.command(of_other).await.is_empty());
    let of_none =
        CommandGetTables { catalog: Some(String::new()), ..tables(None, None, &[], false) };
    assert!(client.command(of_none).await.is_empty(), "every table has a catalog");
    assert!(client.command(tables(Some(""), None, &[], false)).await.is_empty());
    let one = client.command(tables(Some("sh_p"), Some("_ig"), &[], false)).await;
    assert_eq!(one.column("table_name"), ["big"]);
    assert!(client.command(tables(Some("SHOP"), None, &[], false)).await.is_empty());
    let schemas = |catalog, pattern: Option<&str>| CommandGetDbSchemas {
        catalog,
        db_schema_filter_pattern: pattern.map(str::to_owned),
    };
    assert!(client.command(schemas(other(), None)).await.is_empty());
    assert_eq!(client.command(schemas(None, Some("sh%"))).await.len(), 1);
    assert!(client.command(schemas(None, Some("sh"))).await.is_empty());
    for (catalog, db_schema, table, found) in [
        (None, None, "orders", 1),
        (Some("whimbrel"), Some("shop"), "orders", 1),
        (Some("other"), None, "orders", 0),
        (None, Some("main"), "orders", 0),
        (None, None, "order_", 0),
        (None, None, "big", 0),
        (None, None, "totals", 1),
    ] {
        let (catalog, db_schema) = (catalog.map(str::to_owned), db_schema.map(str::to_owned));
        let case = format!("{catalog:?} {db_schema:?} {table}");
        let keys = CommandGetPrimaryKeys { catalog, db_schema, table: table.to_owned() };
        assert_eq!(client.command(keys).await.len(), found, "{case}");
    }
    let some = client.command(CommandGetSqlInfo { info: vec![8, 0, 8, 99_999] }).await;
    assert_eq!(some.column("info_name"), ["0", "8"]);
    let varchar = client.command(CommandGetXdbcTypeInfo { data_type: Some(12) }).await;
    assert_eq!(varchar.column("type_name"), ["VARCHAR"]);
    assert!(client.command(CommandGetXdbcTypeInfo { data_type: Some(999) }).await.is_empty());
}

#[tokio::test]
async fn metadata_answers_while_nothing_can_be_read() {
    let server = Server::start();
    let mut client = client(&server).await;
    let lake = server.options().data().join("lake/tables");
    std::fs::rename(&lake, lake.with_extension("away")).unwrap();
    let listed = client.command(tables(Some("shop"), None, &[], true)).await;
    assert_eq!(listed.len(), 3);
    client.query_failure("SELECT * FROM shop.orders").await;
    std::fs::rename(lake.with_extension("away"), &lake).unwrap();
    client.query("SELECT * FROM shop.orders").await;
}
