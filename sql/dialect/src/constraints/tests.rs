use model::transform::KeyKind;

use super::*;
use crate::{
    parse,
    statement::{CreateMaterializedView, Statement},
};

fn view(list: &str) -> CreateMaterializedView {
    match parse(&format!("CREATE MATERIALIZED VIEW s.v {list} AS SELECT 1 AS a, 2 AS b")) {
        Ok(Statement::CreateMaterializedView(view)) => view,
        other => panic!("{list}: {other:?}"),
    }
}

#[test]
fn a_list_may_hold_constraints_only() {
    let view = view(
        "(CONSTRAINT pk PRIMARY KEY (a, b) VERIFIED, CONSTRAINT positive EXPECT (a > 0 AND b > 0) \
         ON VIOLATION QUARANTINE ROW, UNIQUE (b) NULLS NOT DISTINCT RELY, \
         FOREIGN KEY (a) REFERENCES other (x) NOT ENFORCED, CONSTRAINT c EXPECT ((a) IN (1, 2)))",
    );
    assert!(view.columns.is_empty());
    let keys: Vec<_> = view
        .keys
        .into_iter()
        .map(|key| key.qualified("main").expect("names that can be used"))
        .map(|key| (key.name.clone(), key.kind.as_sql(), key.mode, key))
        .collect();
    let said: Vec<_> =
        keys.iter().map(|(name, kind, mode, _)| (name.as_str(), *kind, *mode)).collect();
    assert_eq!(
        said,
        [
            ("pk", "PRIMARY KEY", KeyMode::Verified),
            ("v_b_key", "UNIQUE", KeyMode::Rely),
            ("v_a_fkey", "FOREIGN KEY", KeyMode::NotEnforced),
        ]
    );
    assert_eq!(keys[1].3.kind, KeyKind::Unique { nulls_equal: true });
    let KeyKind::Foreign { references, columns } = &keys[2].3.kind else { panic!() };
    assert_eq!(
        (references.to_string().as_str(), columns.as_slice()),
        ("main.other", &["x".to_owned()][..])
    );
    let expectations: Vec<_> = view
        .expectations
        .iter()
        .map(|e| (e.name.as_str(), e.condition.as_str(), e.on_violation))
        .collect();
    assert_eq!(
        expectations,
        [
            ("positive", "a > 0 AND b > 0", OnViolation::Quarantine),
            ("c", "(a) IN (1, 2)", OnViolation::Keep),
        ]
    );
}

#[test]
fn columns_and_constraints_stand_together() {
    let view = view(
        "(a BIGINT PRIMARY KEY NOT ENFORCED, b COMMENT 'it''s', CONSTRAINT e EXPECT (b IS NOT NULL) \
         ON VIOLATION FAIL UPDATE)",
    );
    assert_eq!(view.columns.len(), 2);
    assert_eq!(view.keys[0].name, "v_pkey");
    assert_eq!(view.keys[0].mode, KeyMode::NotEnforced);
    assert_eq!(view.expectations[0].on_violation, OnViolation::Fail);
}

#[test]
fn mistakes_in_lists_say_where() {
    const BEFORE: &str = "CREATE MATERIALIZED VIEW v ";
    for (list, offset, message, hint) in [
        ("(EXPECT (a > 0))", 1, "needs a name", "CONSTRAINT name"),
        ("(CONSTRAINT e EXPECT a > 0)", 21, "in parentheses", "EXPECT (a > 0)"),
        ("(CONSTRAINT e EXPECT (a > 0) ON VIOLATION DORP ROW)", 42, "FAIL UPDATE", "DROP ROW"),
        ("(CONSTRAINT e EXPECT (a > (SELECT max(a) FROM t)))", 21, "other tables", "columns"),
        ("(CONSTRAINT e CHECK (a > 0))", 14, "CHECK of a transform", "EXPECT"),
        ("(CONSTRAINT e EXPECT TABLE (count(*) > 0))", 21, "EXPECT TABLE", "EXPECT (a > 0)"),
        ("(CONSTRAINT e EXCEPT (a > 0))", 14, "EXPECT, PRIMARY KEY", "EXPECT"),
        ("(CONSTRAINT e EXPECT (a), CONSTRAINT E EXPECT (b))", 37, "given twice", ""),
        ("(PRIMARY KEY (a), PRIMARY KEY (b))", 18, "one primary key", "UNIQUE"),
        (
            "(first, second, PRIMARY KEY (other))",
            29,
            "no column 'other'",
            "columns are first, second",
        ),
        ("(a, a)", 4, "declared twice", ""),
        ("(PRIMARY KEY (a) ENFORCED)", 17, "VERIFIED", "VERIFIED"),
        ("(FOREIGN KEY (a) REFERENCES t (x, y))", 30, "1 columns, but 2", ""),
        ("(FOREIGN KEY (a) REFERENCES t ON DELETE CASCADE)", 30, "ON DELETE", "leave it out"),
    ] {
        let error = match parse(&format!("{BEFORE}{list} AS SELECT 1")) {
            Ok(statement) => panic!("{list} was read as {statement:?}"),
            Err(error) => error,
        };
        let column = BEFORE.len() as u64 + offset + 1;
        assert_eq!((error.line, error.column), (1, column), "{list}: {error}");
        assert!(error.message.contains(message), "{list}: {error}");
        assert!(error.hint.unwrap_or_default().contains(hint), "{list}");
    }
}
