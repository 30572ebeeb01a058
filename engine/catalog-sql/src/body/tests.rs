use model::{
    name::ObjectName,
    object::{ObjectBody, PathColumn, Properties, Table, TableFormat, View},
    schedule::Schedule,
    transform::Transform,
};

use super::{read_body, write_body};

fn bodies() -> Vec<(ObjectBody, &'static str)> {
    let reads = vec![ObjectName::new("main", "flights").unwrap()];
    let table = Table {
        location: "file:///lake/a/".into(),
        format: TableFormat::Csv,
        external: true,
        options: [("header".to_owned(), "true".to_owned())].into(),
        primary_key: vec!["id".into()],
        path_columns: Vec::new(),
        complete_when: None,
    };
    let in_folders = Table {
        location: "file:///lake/in/{day}/".into(),
        path_columns: vec![PathColumn { name: "day".into(), data_type: "DATE".into() }],
        complete_when: Some("_SUCCESS".into()),
        options: Properties::new(),
        ..table.clone()
    };
    let view = View { query: "q".into(), definition: "d".into(), reads: reads.clone() };
    let materialized = Transform {
        query: "q".into(),
        definition: "d".into(),
        definition_hash: "h".into(),
        reads,
        location: "file:///lake/b/".into(),
        partitioned_by: vec!["day".into()],
        schedule: Some(Schedule::every(60).unwrap()),
        columns: vec![],
        source_file: Some("b.sql".into()),
        suspended: false,
        ..Transform::default()
    };
    vec![
        (
            ObjectBody::Table(table),
            r#"{"v":1,"kind":"table","location":"file:///lake/a/","format":"csv","external":true,"options":{"header":"true"},"primary_key":["id"]}"#,
        ),
        (
            ObjectBody::Table(in_folders),
            r#"{"v":1,"kind":"table","location":"file:///lake/in/{day}/","format":"csv","external":true,"options":{},"primary_key":["id"],"path_columns":[{"name":"day","data_type":"DATE"}],"complete_when":"_SUCCESS"}"#,
        ),
        (
            ObjectBody::View(view),
            r#"{"v":1,"kind":"view","query":"q","definition":"d","reads":[{"schema":"main","name":"flights"}]}"#,
        ),
        (
            ObjectBody::MaterializedView(materialized),
            r#"{"v":1,"kind":"materialized_view","query":"q","definition":"d","definition_hash":"h","reads":[{"schema":"main","name":"flights"}],"location":"file:///lake/b/","partitioned_by":["day"],"schedule":{"kind":"every","seconds":60},"columns":[],"source_file":"b.sql","suspended":false}"#,
        ),
    ]
}

#[test]
fn the_stored_form_of_version_1_stays_as_it_is() {
    for (body, stored) in bodies() {
        assert_eq!(write_body(&body).unwrap(), stored);
        assert_eq!(read_body(stored).unwrap(), body);
    }
}

#[test]
fn a_body_of_a_later_version_is_refused_by_its_version() {
    let error = read_body(r#"{"v":2,"kind":"hologram"}"#).unwrap_err().to_string();
    assert!(error.contains("it has version 2, this program reads version 1"), "{error}");
}
