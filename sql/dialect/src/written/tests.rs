use proptest::prelude::*;

use super::*;
use crate::parse;

/// What a statement says, without how it was typed.
fn meaning(statement: Statement) -> String {
    let bare = |query: &mut Query| {
        let text = normal_form(query);
        *query = match parse("SELECT 1") {
            Ok(Statement::Query(query)) => query,
            other => panic!("{other:?}"),
        };
        text
    };
    let mut texts = Vec::new();
    let mut statement = statement;
    match &mut statement {
        Statement::CreateMaterializedView(create) => {
            create.definition.clear();
            texts.push(bare(&mut create.query));
        }
        Statement::CreateStreamingTable(create) => {
            create.definition.clear();
            texts.extend(create.flow.as_mut().map(|flow| bare(&mut flow.query)));
        }
        Statement::CreateFlow(create) => {
            create.definition.clear();
            texts.push(bare(&mut create.body.query));
        }
        Statement::CreateView(create) => {
            create.definition.clear();
            texts.push(bare(&mut create.query));
        }
        Statement::CreateTemporaryView(create) => {
            create.definition.clear();
            texts.push(bare(&mut create.query));
        }
        _ => {}
    }
    format!("{texts:?} {statement:?}")
}

fn a_name() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-d]{1,2}",
        1 => Just("\"a b\"".to_owned()),
        1 => Just("\"it\"\"s\"".to_owned()),
        1 => Just("\"select\"".to_owned()),
        1 => Just("\"Full\"".to_owned()),
        1 => Just("\"live\"".to_owned()),
        1 => Just("\"stream\"".to_owned()),
        1 => Just("\"expect\"".to_owned()),
        1 => Just("\"constraint\"".to_owned()),
    ]
    .boxed()
}

fn an_object() -> BoxedStrategy<String> {
    prop_oneof![
        a_name(),
        ("[a-c]{1,2}", a_name()).prop_map(|(schema, name)| format!("{schema}.{name}"))
    ]
    .boxed()
}

fn a_text() -> BoxedStrategy<String> {
    "[a-c' \\\\\"?;ü-]{0,6}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))).boxed()
}

fn a_condition() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        a_name().prop_map(|name| format!("{name} > 0")),
        a_name().prop_map(|name| format!("{name} IS NOT NULL")),
        (a_name(), a_text()).prop_map(|(name, text)| format!("{name} = {text}")),
        a_name().prop_map(|name| format!("{name} IN (1, 2)")),
        a_name().prop_map(|name| format!("CASE WHEN {name} THEN 1 ELSE -1.5 END < 3")),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} OR {b}")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
    .boxed()
}

fn a_query() -> BoxedStrategy<String> {
    (an_object(), a_condition())
        .prop_map(|(table, condition)| format!("SELECT * FROM {table} AS t WHERE {condition}"))
        .boxed()
}

fn a_stream() -> BoxedStrategy<String> {
    let options = prop_oneof![
        Just(""),
        Just(", START => 'latest'"),
        Just(", START => 3, ON_CHANGE => 'skip'"),
        Just(", START => '2026-01-01 00:00', ON_CHANGE => 'changes'"),
    ];
    prop_oneof![
        an_object().prop_map(|table| format!("STREAM {table}")),
        (an_object(), options).prop_map(|(table, options)| format!("STREAM ({table}{options})")),
    ]
    .boxed()
}

fn columns() -> BoxedStrategy<String> {
    proptest::sample::subsequence(vec!["a", "b", "\"C\"", "\"d e\""], 1..4)
        .prop_map(|columns| format!("({})", columns.join(", ")))
        .boxed()
}

fn a_choice() -> BoxedStrategy<String> {
    prop_oneof![columns(), columns().prop_map(|columns| format!("* EXCEPT {columns}"))].boxed()
}

fn a_mode() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just(" VERIFIED"),
        Just(" RELY"),
        Just(" NORELY"),
        Just(" NOT ENFORCED"),
        Just(" NOT ENFORCED RELY"),
        Just(" DEFERRABLE INITIALLY DEFERRED RELY")
    ]
}

fn a_key() -> BoxedStrategy<String> {
    prop_oneof![
        (columns(), a_mode()).prop_map(|(columns, mode)| format!("UNIQUE {columns}{mode}")),
        (columns(), a_mode())
            .prop_map(|(columns, mode)| format!("UNIQUE {columns} NULLS NOT DISTINCT{mode}")),
        (columns(), an_object(), a_mode()).prop_map(|(columns, other, mode)| {
            format!("FOREIGN KEY {columns} REFERENCES {other} {columns}{mode}")
        }),
        (columns(), an_object(), a_mode()).prop_map(|(columns, other, mode)| format!(
            "FOREIGN KEY {columns} REFERENCES {other}{mode}"
        )),
    ]
    .boxed()
}

/// A list of constraints in which each name is there once.
fn a_list() -> BoxedStrategy<String> {
    let violation = prop_oneof![
        Just(""),
        Just(" ON VIOLATION DROP ROW"),
        Just(" ON VIOLATION FAIL UPDATE"),
        Just(" ON VIOLATION QUARANTINE ROW")
    ];
    let expectation = (a_condition(), violation)
        .prop_map(|(condition, violation)| format!("EXPECT ({condition}){violation}"));
    let constraint = prop_oneof![expectation, a_key()];
    (proptest::collection::vec(constraint, 0..4), columns(), any::<bool>())
        .prop_map(|(constraints, key, primary)| {
            let named = constraints.iter().enumerate();
            let mut items: Vec<String> =
                named.map(|(n, text)| format!("CONSTRAINT \"n {n}\" {text}")).collect();
            if primary {
                items.push(format!("PRIMARY KEY {key}"));
            }
            if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) }
        })
        .boxed()
}

fn clauses() -> BoxedStrategy<String> {
    let clause = vec![
        "PARTITIONED BY (a, \"B b\")",
        "CLUSTER BY (c, \"it\"\"s\", \"C c\")",
        "COMMENT 'it''s'",
        "LOCATION 's3://b/p'",
        "TBLPROPERTIES ('k' = 'v''', a.b = 3)",
        "USING DELTA",
    ];
    let wakes = prop_oneof![
        Just(""),
        Just("SCHEDULE EVERY 90 MINUTES MISFIRE SKIP"),
        Just("TRIGGER ON UPDATE AT MOST EVERY INTERVAL 5 MINUTES"),
    ];
    (proptest::sample::subsequence(clause, 0..7), wakes)
        .prop_map(|(clauses, wakes)| format!("{} {wakes}", clauses.join(" ")))
        .boxed()
}

fn a_spec() -> BoxedStrategy<String> {
    let optional = |text: BoxedStrategy<String>| prop_oneof![Just(String::new()), text];
    let ignored = a_choice().prop_map(|choice| format!(" IGNORE NULL UPDATES ON {choice}")).boxed();
    let deleted = a_condition().prop_map(|c| format!(" APPLY AS DELETE WHEN {c}")).boxed();
    let chosen = a_choice().prop_map(|choice| format!(" COLUMNS {choice}")).boxed();
    let kept = prop_oneof![
        Just(" STORED AS SCD TYPE 1".to_owned()),
        a_choice().prop_map(|choice| format!(" STORED AS SCD TYPE 2 TRACK HISTORY ON {choice}")),
    ]
    .boxed();
    (
        a_stream(),
        columns(),
        optional(ignored),
        optional(deleted),
        a_name(),
        optional(chosen),
        optional(kept),
    )
        .prop_map(|(from, keys, ignored, deleted, by, chosen, kept)| {
            format!("FROM {from} KEYS {keys}{ignored}{deleted} SEQUENCE BY {by} ON TIE LAST BY {by}{chosen}{kept}")
        })
    .boxed()
}

fn a_statement() -> BoxedStrategy<String> {
    let policy = prop_oneof![
        Just(""),
        Just("REFRESH POLICY FULL"),
        Just("REFRESH POLICY INCREMENTAL STRICT ON FULL REFRESH FAIL"),
        Just("OPTIONS (profile = 'it''s', max_bytes = '1GiB')"),
    ];
    let stands = prop_oneof![
        Just(""),
        Just("REFRESH POLICY INCREMENTAL ON FULL REFRESH APPROVE OPTIONS (max_bytes = 3)"),
    ];
    let or = prop_oneof![Just(""), Just(" OR REFRESH"), Just(" OR REPLACE PRIVATE")];
    let view = (or.clone(), an_object(), a_list(), clauses(), policy, a_query()).prop_map(
        |(or, name, list, clauses, policy, query)| {
            format!("CREATE{or} MATERIALIZED VIEW {name} {list} {clauses} {policy} AS {query}")
        },
    );
    let flow = prop_oneof![
        Just(String::new()),
        a_stream().prop_map(|from| format!("AS SELECT * FROM {from}")),
        a_stream().prop_map(|from| format!("FLOW INSERT ONCE BY NAME SELECT * FROM {from}")),
        a_spec().prop_map(|spec| format!("FLOW AUTO CDC {spec}")),
    ];
    let table = (or, an_object(), a_list(), clauses(), stands, flow).prop_map(
        |(or, name, list, clauses, stands, flow)| {
            format!("CREATE{or} STREAMING TABLE {name} {list} {clauses} {stands} {flow}")
        },
    );
    let named = prop_oneof![
        Just("CREATE VIEW".to_owned()),
        Just("CREATE OR REPLACE VIEW".to_owned()),
        Just("CREATE VIEW IF NOT EXISTS".to_owned()),
    ];
    let named = (named, an_object(), a_query()).prop_map(|(head, name, query)| {
        format!("{head} {name} (a, \"B b\") COMMENT 'c' AS {query}")
    });
    let temporary = (a_name(), a_stream()).prop_map(|(name, from)| {
        format!("CREATE OR REPLACE TEMP VIEW {name} (a COMMENT 'c') AS SELECT * FROM {from}")
    });
    let append = (an_object(), an_object(), a_stream()).prop_map(|(flow, target, from)| {
        format!("CREATE FLOW {flow} COMMENT 'c' AS INSERT INTO ONCE {target} BY NAME SELECT * FROM {from}")
    });
    let changes = (an_object(), an_object(), a_spec()).prop_map(|(flow, target, spec)| {
        format!("CREATE FLOW {flow} AS AUTO CDC INTO {target} {spec}")
    });
    let refresh = (an_object(), a_condition(), a_text()).prop_map(|(name, condition, url)| {
        format!(
            "REFRESH {name} FULL WHERE {condition} WITH UPSTREAM SYNC TIMEOUT 3 SECONDS NOTIFY {url} \
             OPTIONS (priority = 3, profile = 'it''s', max_bytes = 7)"
        )
    });
    let others = (an_object(), a_condition()).prop_flat_map(|(name, condition)| {
        proptest::sample::select(vec![
            format!("SUSPEND {name}"),
            format!("RESUME {name}"),
            format!("VERIFY {name} ASYNC"),
            format!("VERIFY {name} AT RUN 'a''1' SAMPLE 5 PERCENT OF KEYS"),
            format!("VERIFY {name} SAMPLE 0.0500 PERCENT OF KEYS"),
            "SUSPEND FOLDER 'it''s/here'".to_owned(),
            "RESUME FOLDER \"silver\"".to_owned(),
            format!("EXPLAIN REFRESH {name} FULL"),
            format!("EXPLAIN REFRESH {name} USING INPUTS ({name} VERSION 3)"),
            format!("REFRESH TABLE {name} USING INPUTS ({name} VERSION 0, t.\"version\" VERSION 12) SYNC"),
            format!("DROP FLOW IF EXISTS {name}"),
            format!("DROP STREAMING TABLE {name} PURGE"),
            format!("PURGE QUARANTINE {name} WHERE {condition}"),
            format!("RELEASE QUARANTINE {name}"),
            format!("RELEASE QUARANTINE {name} WHERE {condition} ASYNC"),
            format!("BACKFILL {name} FROM DATE '2026-01-01' TO -3 BY 7 DAYS PARALLEL 2 ORDER DESC"),
            format!("ALTER STREAMING TABLE {name} ADD SCHEDULE EVERY 3 DAYS MISFIRE SKIP"),
            format!("ALTER MATERIALIZED VIEW {name} ALTER TRIGGER ON UPDATE"),
            format!("ALTER MATERIALIZED VIEW {name} SET TBLPROPERTIES ('k' = 'it''s', a.b = 3)"),
            format!("ALTER STREAMING TABLE {name} UNSET TBLPROPERTIES IF EXISTS ('k', a.b)"),
            format!("ALTER STREAMING TABLE {name} CLUSTER BY (a, \"B b\")"),
            format!("ALTER STREAMING TABLE {name} CLUSTER BY NONE"),
            format!("COMMENT ON STREAMING TABLE {name} IS 'it''s'"),
            format!("COMMENT ON MATERIALIZED VIEW {name} IS NULL"),
            format!("ALTER MATERIALIZED VIEW {name} ADD CONSTRAINT \"n n\" EXPECT ({condition}) ON VIOLATION DROP ROW"),
            format!("ALTER STREAMING TABLE {name} ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES {name} RELY"),
            format!("ALTER STREAMING TABLE {name} DROP CONSTRAINT IF EXISTS \"select\""),
        ])
    });
    prop_oneof![3 => view, 3 => table, 1 => append, 2 => changes, 1 => refresh, 3 => others, 1 => named, 1 => temporary].boxed()
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(sql in a_statement()) {
        let statement = match parse(&sql) {
            Ok(statement) => statement,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{sql}"))),
        };
        let text = written(&statement).expect("one of ours");
        let again = match parse(&text) {
            Ok(statement) => statement,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{text}\n{sql}"))),
        };
        prop_assert_eq!(meaning(again), meaning(statement), "{}", text);
    }
}

#[test]
fn the_text_is_laid_out_for_people() {
    let sql = "create or refresh streaming table s.t (constraint ok expect (a>0) on violation drop row) \
               trigger on update at most every interval 5 minutes as select * from stream raw.t";
    let text = parse(sql).ok().and_then(|statement| written(&statement));
    assert_eq!(
        text.as_deref(),
        Some(
            "CREATE OR REFRESH STREAMING TABLE s.t (\n  CONSTRAINT ok EXPECT (a > 0) ON VIOLATION DROP ROW\n)\n\
             TRIGGER ON UPDATE AT MOST EVERY INTERVAL 300 SECONDS\n\
             AS SELECT * FROM STREAM raw.t AS t"
        )
    );
}
