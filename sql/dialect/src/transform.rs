//! CREATE MATERIALIZED VIEW, CREATE STREAMING TABLE and CREATE FLOW; ALTER of the first two.

use sqlparser::tokenizer::{Location, Token};

use crate::{
    alter, cdc,
    clauses::{self, Clauses, Of},
    constraints::{self, Declared},
    cursor::Cursor,
    error::SyntaxError,
    live, rights,
    statement::{
        AlterTransform, AlterTransformAction, CreateFlow, CreateMaterializedView, CreateMode,
        CreateStreamingTable, DropKind, FlowBody, NameParts, OwnedObject, Statement, Wakes,
    },
};

/// What stands before the words MATERIALIZED VIEW or STREAMING TABLE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Where the statement begins.
    pub(crate) start: Location,
    /// OR REFRESH or OR REPLACE.
    pub(crate) mode: CreateMode,
    pub(crate) private: bool,
}

/// After `CREATE … MATERIALIZED VIEW`.
pub(crate) fn create_materialized_view(
    cursor: &mut Cursor<'_>,
    Head { start, mode, private }: Head,
) -> Result<Statement, SyntaxError> {
    let mode = with_if_not_exists(cursor, mode)?;
    let name = target(cursor, "the name of a materialized view")?;
    let Declared { columns, expectations, keys } = constraints::declared(cursor, last(&name))?;
    let clauses = clauses::read(cursor, Of::MaterializedView)?;
    let Clauses { partitioned_by, location, comment, properties, schedule, .. } = clauses;
    cursor.expect("AS")?;
    let query = cursor.stored_query("materialized view")?;
    let (schedule, misfire) = schedule.map_or((None, Default::default()), |(s, m)| (Some(s), m));
    let (policy, on_full_refresh) = clauses.policy.unwrap_or_default();
    Ok(Statement::CreateMaterializedView(CreateMaterializedView {
        name,
        mode,
        private,
        columns,
        expectations,
        keys,
        partitioned_by: partitioned_by.into_iter().map(|(column, _)| column).collect(),
        location,
        comment,
        properties,
        schedule,
        misfire,
        trigger: clauses.trigger,
        policy,
        on_full_refresh,
        resources: clauses.resources,
        query,
        definition: cursor.text_from(start),
    }))
}

/// After `CREATE … STREAMING TABLE`.
pub(crate) fn create_streaming_table(
    cursor: &mut Cursor<'_>,
    Head { start, mode, private }: Head,
) -> Result<Statement, SyntaxError> {
    cursor.allow_streams();
    let mode = with_if_not_exists(cursor, mode)?;
    let name = target(cursor, "the name of a streaming table")?;
    let Declared { columns, expectations, keys } = constraints::declared(cursor, last(&name))?;
    let clauses = clauses::read(cursor, Of::StreamingTable)?;
    let Clauses { partitioned_by, location, comment, properties, schedule, .. } = clauses;
    let flow = if cursor.take("AS") {
        Some(append(cursor, false)?)
    } else if cursor.take("FLOW") {
        Some(own_flow(cursor)?)
    } else {
        None
    };
    let (schedule, misfire) = schedule.map_or((None, Default::default()), |(s, m)| (Some(s), m));
    Ok(Statement::CreateStreamingTable(Box::new(CreateStreamingTable {
        name,
        mode,
        private,
        columns,
        expectations,
        keys,
        partitioned_by: partitioned_by.into_iter().map(|(column, _)| column).collect(),
        location,
        comment,
        properties,
        schedule,
        misfire,
        trigger: clauses.trigger,
        on_full_refresh: clauses.policy.map(|(_, on_full_refresh)| on_full_refresh),
        resources: clauses.resources,
        flow,
        definition: cursor.text_from(start),
    })))
}

/// After FLOW inside CREATE STREAMING TABLE: `INSERT [ONCE] BY NAME query` or `AUTO CDC spec`.
fn own_flow(cursor: &mut Cursor<'_>) -> Result<FlowBody, SyntaxError> {
    if cursor.take("INSERT") {
        let once = cursor.take("ONCE");
        by_name(cursor)?;
        return append(cursor, once);
    }
    if auto_cdc(cursor) {
        let once = cursor.take("ONCE");
        return cdc::spec(cursor, once);
    }
    Err(cursor.expected_one_of(&["INSERT", "AUTO CDC"]))
}

/// `CREATE FLOW name [COMMENT text] AS …`, after FLOW.
pub(crate) fn create_flow(
    cursor: &mut Cursor<'_>,
    start: Location,
) -> Result<Statement, SyntaxError> {
    cursor.allow_streams();
    if cursor.sees("IF NOT EXISTS") {
        return Err(cursor
            .unsupported("CREATE FLOW IF NOT EXISTS")
            .with_hint("leave it out: a flow with the same meaning is no change"));
    }
    let name = target(cursor, "the name of a flow")?;
    let comment = if cursor.sees("COMMENT") { Some(clauses::comment(cursor)?) } else { None };
    cursor.expect("AS")?;
    let (target, body) = if cursor.take("INSERT INTO") {
        let once = cursor.take("ONCE");
        cursor.take("TABLE");
        let target = target(cursor, "the name of a streaming table")?;
        by_name(cursor)?;
        (target, append(cursor, once)?)
    } else if auto_cdc(cursor) {
        let once = cursor.take("ONCE");
        cursor.expect("INTO")?;
        let target = target(cursor, "the name of a streaming table")?;
        (target, cdc::spec(cursor, once)?)
    } else {
        return Err(cursor.expected_one_of(&["INSERT INTO", "AUTO CDC INTO"]));
    };
    let definition = cursor.text_from(start);
    Ok(Statement::CreateFlow(Box::new(CreateFlow { name, comment, target, body, definition })))
}

/// `APPLY CHANGES INTO target …`, the older form of a flow without a name: it gets one of its table.
pub(crate) fn apply_changes(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let start = cursor.here();
    cursor.allow_streams();
    cursor.expect("APPLY CHANGES INTO")?;
    let target = target(cursor, "the name of a streaming table")?;
    let body = cdc::spec(cursor, false)?;
    let mut name = target.clone();
    if let Some(last) = name.last_mut() {
        last.push_str("_changes");
    }
    let definition = cursor.text_from(start);
    let flow = CreateFlow { name, comment: None, target, body, definition };
    Ok(Statement::CreateFlow(Box::new(flow)))
}

/// AUTO CDC, or the words that it had before.
fn auto_cdc(cursor: &mut Cursor<'_>) -> bool {
    cursor.take("AUTO CDC") || cursor.take("APPLY CHANGES")
}

/// BY NAME, without which Databricks would go by the order of the columns.
fn by_name(cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    if cursor.take("BY NAME") {
        return Ok(());
    }
    Err(cursor
        .expected("BY NAME")
        .with_hint("columns of a flow go to the columns with their names"))
}

fn append(cursor: &mut Cursor<'_>, once: bool) -> Result<FlowBody, SyntaxError> {
    let query = cursor.stored_query("flow")?;
    Ok(FlowBody { once, query, changes: None })
}

/// IF NOT EXISTS, which excludes OR REPLACE and OR REFRESH.
fn with_if_not_exists(
    cursor: &mut Cursor<'_>,
    mode: CreateMode,
) -> Result<CreateMode, SyntaxError> {
    let at = cursor.here();
    match (cursor.if_not_exists(), mode) {
        (true, CreateMode::Create) => Ok(CreateMode::IfNotExists),
        (true, _) => Err(SyntaxError::new(
            at,
            "IF NOT EXISTS and OR REPLACE or OR REFRESH exclude each other",
        )),
        (false, mode) => Ok(mode),
    }
}

fn last(name: &NameParts) -> &str {
    name.last().map_or("transform", String::as_str)
}

/// The name of what a statement makes or feeds; `LIVE.` before it means nothing more.
pub(crate) fn target(cursor: &mut Cursor<'_>, what: &str) -> Result<NameParts, SyntaxError> {
    live::skip_prefix(cursor);
    cursor.name(what)
}

/// After `ALTER`, at MATERIALIZED VIEW or STREAMING TABLE.
pub(crate) fn alter(cursor: &mut Cursor<'_>, kind: DropKind) -> Result<Statement, SyntaxError> {
    const ACTIONS: [&str; 14] = [
        "ADD CONSTRAINT",
        "ADD SCHEDULE",
        "ADD TRIGGER",
        "ALTER SCHEDULE",
        "ALTER TRIGGER",
        "CLUSTER BY",
        "DROP CONSTRAINT",
        "DROP SCHEDULE",
        "DROP TRIGGER",
        "OWNER TO",
        "SET ROW FILTER",
        "DROP ROW FILTER",
        "SET TBLPROPERTIES",
        "UNSET TBLPROPERTIES",
    ];
    cursor.expect(kind.as_sql())?;
    let name = cursor.name("the name of a transform")?;
    let owned = OwnedObject { kind: Some(kind), name: name.clone() };
    if let Some(statement) = rights::owner(cursor, owned)? {
        return Ok(statement);
    }
    if let Some(statement) = rights::policy(cursor, &name)? {
        return Ok(statement);
    }
    let action = if cursor.take("DROP SCHEDULE") {
        AlterTransformAction::DropSchedule
    } else if cursor.take("DROP TRIGGER") {
        AlterTransformAction::DropTrigger
    } else if let Some(change) = alter::properties(cursor)? {
        AlterTransformAction::Properties(change)
    } else if cursor.sees("ADD CONSTRAINT") {
        cursor.skip(1);
        AlterTransformAction::AddConstraint(constraints::added(cursor, last(&name))?)
    } else if cursor.take("DROP CONSTRAINT") {
        let if_exists = cursor.take("IF EXISTS");
        let name = cursor.ident("the name of a constraint")?;
        AlterTransformAction::DropConstraint { name, if_exists }
    } else {
        for what in ["SET", "ALTER COLUMN", "RENAME"] {
            if cursor.sees(what) {
                return Err(cursor
                    .unsupported(&format!("ALTER {} … {what}", kind.as_sql()))
                    .with_hint("create it again with CREATE OR REFRESH"));
            }
        }
        let add = cursor.sees("ADD");
        if !(add || cursor.sees("ALTER")) {
            return Err(cursor.expected_one_of(&ACTIONS));
        }
        cursor.skip(1);
        let wakes = wakes(cursor)?;
        if add { AlterTransformAction::Add(wakes) } else { AlterTransformAction::Alter(wakes) }
    };
    if matches!(cursor.peek(), Token::Comma) {
        return Err(cursor
            .unsupported("ALTER with several actions")
            .with_hint("write one for each"));
    }
    Ok(Statement::AlterTransform(AlterTransform { kind, name, action }))
}

fn wakes(cursor: &mut Cursor<'_>) -> Result<Wakes, SyntaxError> {
    if cursor.sees("SCHEDULE") {
        let (schedule, misfire) = clauses::schedule(cursor)?;
        return Ok(Wakes::Schedule(schedule, misfire));
    }
    if cursor.sees("TRIGGER") {
        return Ok(Wakes::Trigger(clauses::trigger(cursor)?));
    }
    Err(cursor.expected_one_of(&["SCHEDULE", "TRIGGER"]))
}

#[cfg(test)]
mod tests;
