use dialect::statement::{FilesUse, Statement};
use lake::NewColumns;
use model::object::TableFormat;

use super::options::Options;

fn files(options: &str) -> FilesUse {
    let sql = format!("SELECT * FROM read_files({options})");
    match dialect::parse(&sql) {
        Ok(Statement::Query(query)) => query.files.into_iter().next().expect("a call"),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn options_of_databricks_mean_what_they_mean_there() {
    let of = |options: &str| Options::of(&files(options)).expect(options);
    assert_eq!(of("'in/*.csv'").format, Some(TableFormat::Csv));
    assert_eq!(of("'in/a.json.gz'").format, Some(TableFormat::Json));
    assert_eq!(of("'in/'").format, None);
    assert_eq!(of("'in/*.csv', format => 'JSON'").format, Some(TableFormat::Json));
    let header = |options: &str| of(options).of_format(TableFormat::Csv).get("header").cloned();
    assert_eq!(header("'a.csv'").as_deref(), Some("true"));
    assert_eq!(header("'a.csv', schema => 'a INT'").as_deref(), Some("false"));
    assert_eq!(header("'a.csv', schema => 'a INT', HEADER => true").as_deref(), Some("true"));
    let csv = of("'a.csv', sep => ';', nullValue => 'n.a.', multiLine => true");
    let csv = csv.of_format(TableFormat::Csv);
    for (option, value) in
        [("delimiter", ";"), ("null_value", "n.a."), ("newlines_in_values", "true")]
    {
        assert_eq!(csv.get(option).map(String::as_str), Some(value), "{option}");
    }
    assert_eq!(of("'a.json', multiLine => false").of_format(TableFormat::Json).len(), 0);
    let bounded = of("'a.csv', maxFilesPerTrigger => 7, maxBytesPerTrigger => '10g'");
    assert_eq!((bounded.files_max, bounded.bytes_max), (7, Some(10 << 30)));
    assert_eq!(of("'a.csv', maxBytesPerTrigger => '500MB'").bytes_max, Some(500_000_000));
    assert_eq!(of("'a.csv', \"cloudFiles.maxBytesPerTrigger\" => 9").bytes_max, Some(9));
    let mode = |mode: &str| of(&format!("'a.csv', schemaEvolutionMode => '{mode}'")).new;
    assert_eq!(mode("none"), Some(NewColumns::Ignore));
    assert_eq!(mode("failOnNewColumns"), Some(NewColumns::Fail));
    assert_eq!(of("'a.csv', mode => 'FAILFAST', inferSchema => true").new, None);
}

#[test]
fn an_option_that_could_not_mean_the_same_is_refused_by_its_name() {
    for (options, texts) in [
        ("'a.csv', rescuedDataColumn => 'r'", ["rescueddatacolumn", "STRING"]),
        ("'a.csv', allowOverwrites => true", ["allowoverwrites => 'true'", "new names"]),
        ("'a.csv', schemaEvolutionMode => 'rescue'", ["'rescue'", "failOnNewColumns"]),
        ("'a.csv', mode => 'DROPMALFORMED'", ["DROPMALFORMED", "FAILFAST"]),
        ("'a.csv', dateFormat => 'dd'", ["dateformat", "to_date"]),
        ("'a.csv', encoding => 'latin1'", ["encoding => 'latin1'", "UTF-8"]),
        ("'a', format => 'avro'", ["'avro'", "'csv', 'json' or 'parquet'"]),
        ("'a.json', header => true", ["header", "JSON files have no such option"]),
        ("'a.json', multiLine => true", ["multiline", "JSON files have no such option"]),
        ("'a.csv', maxFilesPerTrigger => 0", ["maxFilesPerTrigger", "'0'"]),
        ("'a.csv', maxBytesPerTrigger => 'much'", ["maxBytesPerTrigger", "'much'"]),
        ("'a.csv', schema => 'a INT', schemaHints => 'a INT'", ["schemahints", "beside schema"]),
        ("'a.csv', hadder => true", ["'hadder' is no option", "known are format, schema"]),
    ] {
        let error = Options::of(&files(options)).expect_err(options).to_string();
        for text in texts {
            assert!(error.contains(text), "{options}: {error}");
        }
    }
}
