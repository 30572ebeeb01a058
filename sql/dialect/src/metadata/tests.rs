use crate::{parse_flow_query, qualify};

#[test]
fn a_star_does_not_mean_the_column_that_a_query_names() {
    for (sql, expected) in [
        ("SELECT * FROM read_files('x')", "SELECT * FROM read_files('x') AS \"read_files\""),
        (
            "SELECT *, _metadata.file_path FROM STREAM read_files('x')",
            "SELECT * EXCLUDE (_metadata), _metadata.file_path AS file_path \
             FROM STREAM read_files('x') AS \"read_files\"",
        ),
        (
            "SELECT f.*, t.*, f._metadata.file_name AS n FROM read_files('x') f JOIN t ON true",
            "SELECT f.* EXCLUDE (_metadata), t.*, f._metadata.file_name AS n \
             FROM read_files('x') f JOIN main.t ON true",
        ),
        (
            "SELECT * EXCEPT (a), upper(_METADATA.file_name) FROM read_files('x')",
            "SELECT * EXCEPT (a, _metadata), upper(_METADATA.file_name) \
             FROM read_files('x') AS \"read_files\"",
        ),
        (
            "SELECT * FROM (SELECT *, _metadata AS m FROM read_files('x'))",
            "SELECT * FROM (SELECT * EXCLUDE (_metadata), _metadata AS m \
             FROM read_files('x') AS \"read_files\")",
        ),
        ("SELECT *, _metadata.x FROM t", "SELECT *, _metadata.x FROM main.t"),
    ] {
        let query = parse_flow_query(sql).expect(sql);
        let text = qualify(&query, "main");
        assert_eq!(text, expected, "{sql}");
        let again = parse_flow_query(&text).expect(&text);
        assert_eq!(qualify(&again, "main"), text, "{sql}");
        assert_eq!(again.files, query.files, "{sql}");
        assert_eq!(
            query.files.iter().any(|files| files.has_metadata),
            sql.contains("etadata") && !query.files.is_empty() || sql.contains("_METADATA"),
            "{sql}"
        );
    }
}
