use super::*;

fn full() -> RunReport {
    RunReport {
        rows_in: Some(10),
        rows_out: Some(6),
        rows_dropped: Some(3),
        rows_quarantined: Some(1),
        expectations: vec![ExpectationResult {
            name: "positive".to_owned(),
            on_violation: OnViolation::Drop,
            violated: 3,
        }],
        keys: vec![KeyResult { name: "pk".to_owned(), violated: 0 }],
        bytes_estimated: Some(7),
        broken: Some(Promise::Unique),
        skipped: vec![SkippedRows { input: ObjectId::generate(), commits: 2, rows: None }],
        alternatives: vec!["APPEND: a row went".to_owned()],
        hash: Some("ab".to_owned()),
        files: Some(FilesReport {
            taken: 3,
            waiting: 1,
            changed: 1,
            first_changed: Some("file:///a.csv".to_owned()),
        }),
        part: Some(PartResult { condition: "day = 1".to_owned(), is_mixed: true }),
    }
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    for report in [full(), RunReport::default()] {
        assert_eq!(serde_json::from_str::<RunReport>(&report.to_json()).unwrap(), report);
    }
    assert_eq!(RunReport::default().to_json(), "{}");
}

#[test]
fn fields_of_later_versions_are_left_out() {
    let report: RunReport = serde_json::from_str(r#"{"rows_in": 1, "later": [1]}"#).unwrap();
    assert_eq!(report, RunReport { rows_in: Some(1), ..RunReport::default() });
}

#[test]
fn a_ledger_balances_when_no_row_is_lost() {
    assert!(full().balances());
    assert!(RunReport::default().balances());
    assert!(!RunReport { rows_out: Some(7), ..full() }.balances());
}
