//! What drivers ask before anybody types a statement.

use arrow::array::{Array, BinaryArray};
use arrow_flight::IpcMessage;
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo,
};
use whimbrel_tests::{client::Client, process::Server};

async fn client(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id BIGINT NOT NULL, price DECIMAL(8, 2), at TIMESTAMP, PRIMARY KEY (id));
             CREATE VIEW shop.big AS SELECT id FROM shop.orders;
             CREATE MATERIALIZED VIEW shop.totals AS SELECT count(*) AS n FROM shop.orders",
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
            "grants",
            "jobs",
            "queries",
            "roles",
            "run_inputs",
            "runs",
            "tables",
            "transforms",
            "users"
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
        assert!(described.metadata().contains_key("ARROW:FLIGHT:SQL:TYPE_NAME"));
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
