//! Statements about transforms back to text.
//!
//! It exists for everybody who shows or stores what a statement says rather than how it was typed.
//! What it writes is read back as the same statement. It never writes other statements.

use model::{
    clustering::{self, CLUSTER_BY},
    object::Properties,
    profile::{DEFAULT_PROFILE, Resources},
    schedule::Schedule,
    transform::{
        ChangeSpec, ColumnChoice, DeclaredColumn, Expectation, History, KeyMode, Misfire,
        OnFullRefresh, OnViolation, RefreshPolicy, Trigger,
    },
};

use crate::{
    cursor::NO_NAMES,
    print::{literal, normal_form, quoted},
    statement::{
        AddedConstraint, Along, AlterTransform, AlterTransformAction, Backfill, CreateFlow,
        CreateMaterializedView, CreateMode, CreateStreamingTable, CreateView, DeclaredKey,
        DeclaredKeyKind, Drop, FlowBody, InputVersion, NameParts, PropertyChange, Quarantine,
        QuarantineAction, Query, Refresh, Statement, TimeTravel, Wait, Wakes,
    },
};

/// Words that begin something else than a name where these statements have one.
const OWN_WORDS: [&str; 17] = [
    "CONSTRAINT",
    "PRIMARY",
    "UNIQUE",
    "FOREIGN",
    "CHECK",
    "EXPECT",
    "STREAM",
    "STREAMING",
    "QUARANTINE",
    "FLOW",
    "CDC",
    "ONCE",
    "FOLDER",
    "KEYS",
    "LIVE",
    "VERIFIED",
    "FRESH",
];

/// The text of a statement that declares views and transforms, runs or looks after them; of others, none.
#[must_use]
pub fn written(statement: &Statement) -> Option<String> {
    let text = match statement {
        Statement::CreateMaterializedView(create) => materialized_view(create),
        Statement::CreateStreamingTable(create) => streaming_table(create),
        Statement::CreateFlow(create) => flow(create),
        Statement::CreateView(create) => view("VIEW", create),
        Statement::CreateTemporaryView(create) => view("TEMPORARY VIEW", create),
        Statement::Drop(Drop { kind, name, if_exists, purge }) => {
            let purge = if *purge { " PURGE" } else { "" };
            format!("DROP {}{} {}{purge}", kind.as_sql(), exists(*if_exists), named(name))
        }
        Statement::DropFlow { name, if_exists } => {
            format!("DROP FLOW{} {}", exists(*if_exists), named(name))
        }
        Statement::AlterTransform(alter) => altered(alter),
        Statement::Refresh(refresh) => refreshed(refresh),
        Statement::ExplainRefresh { name, full, inputs } => {
            let full = if *full { " FULL" } else { "" };
            format!("EXPLAIN REFRESH {}{full}{}", named(name), using_inputs(inputs))
        }
        Statement::Verify { name, run, sample, wait } => {
            let run = run.as_ref().map(|run| format!(" AT RUN {}", literal(run)));
            let sample = sample.map(|percent| format!(" SAMPLE {percent} PERCENT OF KEYS"));
            let (run, sample) = (run.unwrap_or_default(), sample.unwrap_or_default());
            format!("VERIFY {}{run}{sample}{}", named(name), waiting(*wait))
        }
        Statement::Backfill(backfill) => backfilled(backfill),
        Statement::Suspend { name } => format!("SUSPEND {}", named(name)),
        Statement::Resume { name } => format!("RESUME {}", named(name)),
        Statement::Folder { action, folder } => {
            format!("{} FOLDER {}", action.as_sql(), literal(folder))
        }
        Statement::Quarantine(Quarantine { action, name, condition, wait }) => {
            let condition = condition.as_ref().map(|c| format!(" WHERE {c}")).unwrap_or_default();
            let wait = match action {
                QuarantineAction::Purge => String::new(),
                QuarantineAction::Release => waiting(*wait),
            };
            format!("{} QUARANTINE {}{condition}{wait}", action.as_sql(), named(name))
        }
        _ => return None,
    };
    Some(text)
}

fn materialized_view(create: &CreateMaterializedView) -> String {
    let mut text = head("MATERIALIZED VIEW", create.mode, create.private, &create.name);
    list(&mut text, &create.columns, &create.keys, &create.expectations);
    storage(&mut text, &create.partitioned_by, create.location.as_deref());
    about(&mut text, create.comment.as_deref(), &create.properties);
    when(&mut text, create.schedule.as_ref(), create.misfire, create.trigger);
    if (create.policy, create.on_full_refresh) != (RefreshPolicy::Auto, OnFullRefresh::Allow) {
        line(&mut text, &format!("REFRESH POLICY {}", create.policy.as_sql()));
        if create.on_full_refresh != OnFullRefresh::Allow {
            text.push_str(&format!(" ON FULL REFRESH {}", create.on_full_refresh.as_sql()));
        }
    }
    may_take(&mut text, &create.resources);
    line(&mut text, &format!("AS {}", normal_form(&create.query)));
    text
}

fn view(kind: &str, create: &CreateView) -> String {
    let CreateView { name, if_not_exists, or_replace, columns, comment, query, .. } = create;
    let mode = match (or_replace, if_not_exists) {
        (true, _) => CreateMode::OrReplace,
        (false, true) => CreateMode::IfNotExists,
        (false, false) => CreateMode::Create,
    };
    let mut text = head(kind, mode, false, name);
    if !columns.is_empty() {
        text.push_str(&format!(" {}", in_parentheses(columns)));
    }
    about(&mut text, comment.as_deref(), &Properties::new());
    line(&mut text, &format!("AS {}", normal_form(query)));
    text
}

fn streaming_table(create: &CreateStreamingTable) -> String {
    let mut text = head("STREAMING TABLE", create.mode, create.private, &create.name);
    list(&mut text, &create.columns, &create.keys, &create.expectations);
    storage(&mut text, &create.partitioned_by, create.location.as_deref());
    about(&mut text, create.comment.as_deref(), &create.properties);
    when(&mut text, create.schedule.as_ref(), create.misfire, create.trigger);
    if let Some(on_full_refresh) = create.on_full_refresh {
        let policy = format!("INCREMENTAL ON FULL REFRESH {}", on_full_refresh.as_sql());
        line(&mut text, &format!("REFRESH POLICY {policy}"));
    }
    may_take(&mut text, &create.resources);
    if let Some(FlowBody { once, query, changes }) = &create.flow {
        let flow = match (changes, once) {
            (Some(spec), once) => format!("FLOW AUTO CDC{}{}", said_once(*once), cdc(query, spec)),
            (None, true) => format!("FLOW INSERT ONCE BY NAME {}", normal_form(query)),
            (None, false) => format!("AS {}", normal_form(query)),
        };
        line(&mut text, &flow);
    }
    text
}

fn flow(create: &CreateFlow) -> String {
    let CreateFlow { name, comment, target, body, .. } = create;
    let mut text = format!("CREATE FLOW {}", named(name));
    if let Some(comment) = comment {
        text.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    let (once, target) = (said_once(body.once), named(target));
    let body = match &body.changes {
        Some(spec) => format!("AS AUTO CDC{once} INTO {target}{}", cdc(&body.query, spec)),
        None => format!("AS INSERT INTO{once} {target} BY NAME {}", normal_form(&body.query)),
    };
    line(&mut text, &body);
    text
}

fn head(kind: &str, mode: CreateMode, private: bool, name: &NameParts) -> String {
    let (or, if_not_exists) = match mode {
        CreateMode::Create => ("", ""),
        CreateMode::IfNotExists => ("", " IF NOT EXISTS"),
        CreateMode::OrRefresh => (" OR REFRESH", ""),
        CreateMode::OrReplace => (" OR REPLACE", ""),
    };
    let private = if private { " PRIVATE" } else { "" };
    format!("CREATE{or}{private} {kind}{if_not_exists} {}", named(name))
}

fn list(
    text: &mut String,
    columns: &[DeclaredColumn],
    keys: &[DeclaredKey],
    expectations: &[Expectation],
) {
    let items = columns.iter().map(column);
    let items = items.chain(keys.iter().map(key)).chain(expectations.iter().map(expectation));
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        text.push_str(&format!(" (\n  {}\n)", items.join(",\n  ")));
    }
}

fn column(DeclaredColumn { name, data_type, not_null, comment }: &DeclaredColumn) -> String {
    let mut text = word(name);
    if let Some(data_type) = data_type {
        text.push_str(&format!(" {data_type}"));
    }
    if *not_null {
        text.push_str(" NOT NULL");
    }
    if let Some(comment) = comment {
        text.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    text
}

fn key(DeclaredKey { name, columns, kind, mode }: &DeclaredKey) -> String {
    let columns = in_parentheses(columns);
    let promise = match kind {
        DeclaredKeyKind::Primary => format!("PRIMARY KEY {columns}"),
        DeclaredKeyKind::Unique { nulls_equal: false } => format!("UNIQUE {columns}"),
        DeclaredKeyKind::Unique { nulls_equal: true } => {
            format!("UNIQUE {columns} NULLS NOT DISTINCT")
        }
        DeclaredKeyKind::Foreign { references, columns: theirs } => {
            let theirs = match theirs.as_slice() {
                [] => String::new(),
                theirs => format!(" {}", in_parentheses(theirs)),
            };
            format!("FOREIGN KEY {columns} REFERENCES {}{theirs}", named(references))
        }
    };
    let mode = match mode {
        KeyMode::Verified => String::new(),
        mode => format!(" {}", mode.as_sql()),
    };
    format!("CONSTRAINT {} {promise}{mode}", word(name))
}

fn expectation(Expectation { name, condition, on_violation }: &Expectation) -> String {
    let on_violation = match on_violation {
        OnViolation::Keep => String::new(),
        other => format!(" ON VIOLATION {}", other.as_sql()),
    };
    format!("CONSTRAINT {} EXPECT ({condition}){on_violation}", word(name))
}

fn storage(text: &mut String, partitioned_by: &[String], location: Option<&str>) {
    if !partitioned_by.is_empty() {
        line(text, &format!("PARTITIONED BY {}", in_parentheses(partitioned_by)));
    }
    if let Some(location) = location {
        line(text, &format!("LOCATION {}", literal(location)));
    }
}

fn about(text: &mut String, comment: Option<&str>, properties: &Properties) {
    if let Some(comment) = comment {
        line(text, &format!("COMMENT {}", literal(comment)));
    }
    // The property is said by its clause, where it is as the clause makes it.
    let cluster_by = clustering::columns(properties).unwrap_or_default();
    let is_said = clustering::property(&cluster_by).get(CLUSTER_BY) == properties.get(CLUSTER_BY);
    if is_said && !cluster_by.is_empty() {
        line(text, &format!("CLUSTER BY {}", in_parentheses(&cluster_by)));
    }
    let others = properties.iter().filter(|(key, _)| *key != CLUSTER_BY || !is_said);
    let pairs: Vec<String> = others.map(property).collect();
    if !pairs.is_empty() {
        line(text, &format!("TBLPROPERTIES ({})", pairs.join(", ")));
    }
}

fn property((key, value): (&String, &String)) -> String {
    format!("{} = {}", literal(key), literal(value))
}

fn when(
    text: &mut String,
    schedule: Option<&Schedule>,
    misfire: Misfire,
    trigger: Option<Trigger>,
) {
    if let Some(schedule) = schedule {
        line(text, &scheduled(schedule, misfire));
    }
    if let Some(trigger) = trigger {
        line(text, &trigger.to_string());
    }
}

/// `OPTIONS (…)`, where something else is said than what holds anyway.
fn may_take(text: &mut String, resources: &Resources) {
    let Resources { profile, bytes_max } = resources;
    let profile = (profile != DEFAULT_PROFILE).then(|| format!("profile = {}", literal(profile)));
    let options = profile.into_iter().chain(bytes_max.map(|bytes| format!("max_bytes = {bytes}")));
    let options: Vec<String> = options.collect();
    if !options.is_empty() {
        line(text, &format!("OPTIONS ({})", options.join(", ")));
    }
}

fn scheduled(schedule: &Schedule, misfire: Misfire) -> String {
    let misfire = match misfire {
        Misfire::Once => "",
        Misfire::Skip => " MISFIRE SKIP",
    };
    format!("SCHEDULE {schedule}{misfire}")
}

/// ` FROM STREAM … KEYS (…) …`.
fn cdc(query: &Query, spec: &ChangeSpec) -> String {
    let mut text = String::new();
    for table in &query.tables {
        if let Some(TimeTravel::Stream(read)) = &table.at {
            let name = named(&table.name);
            text.push_str(&format!(" FROM {}", crate::print::stream(&name, read)));
        }
    }
    text.push_str(&format!(" KEYS {}", in_parentheses(&spec.keys)));
    match &spec.ignore_null_updates {
        ColumnChoice::None => {}
        ColumnChoice::All => text.push_str(" IGNORE NULL UPDATES"),
        columns => text.push_str(&format!(" IGNORE NULL UPDATES ON {}", chosen(columns))),
    }
    if let Some(condition) = &spec.delete_when {
        text.push_str(&format!(" APPLY AS DELETE WHEN {condition}"));
    }
    if let Some(condition) = &spec.truncate_when {
        text.push_str(&format!(" APPLY AS TRUNCATE WHEN {condition}"));
    }
    text.push_str(&format!(" SEQUENCE BY {}", spec.sequence_by));
    if let Some(last_by) = &spec.last_by {
        text.push_str(&format!(" ON TIE LAST BY {last_by}"));
    }
    if spec.columns != ColumnChoice::All {
        text.push_str(&format!(" COLUMNS {}", chosen(&spec.columns)));
    }
    match &spec.history {
        History::Newest => text.push_str(" STORED AS SCD TYPE 1"),
        History::Every { track } => {
            text.push_str(" STORED AS SCD TYPE 2");
            if *track != ColumnChoice::All {
                text.push_str(&format!(" TRACK HISTORY ON {}", chosen(track)));
            }
        }
    }
    text
}

fn chosen(columns: &ColumnChoice) -> String {
    match columns {
        ColumnChoice::None => "()".to_owned(),
        ColumnChoice::All => "*".to_owned(),
        ColumnChoice::Only(columns) => in_parentheses(columns),
        ColumnChoice::Except(columns) => format!("* EXCEPT {}", in_parentheses(columns)),
    }
}

fn altered(AlterTransform { kind, name, action }: &AlterTransform) -> String {
    let wakes = |wakes: &Wakes| match wakes {
        Wakes::Schedule(schedule, misfire) => scheduled(schedule, *misfire),
        Wakes::Trigger(trigger) => trigger.to_string(),
    };
    let action = match action {
        AlterTransformAction::Comment(comment) => {
            let comment = comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
            return format!("COMMENT ON {} {} IS {comment}", kind.as_sql(), named(name));
        }
        AlterTransformAction::Add(added) => format!("ADD {}", wakes(added)),
        AlterTransformAction::Alter(altered) => format!("ALTER {}", wakes(altered)),
        AlterTransformAction::DropSchedule => "DROP SCHEDULE".to_owned(),
        AlterTransformAction::DropTrigger => "DROP TRIGGER".to_owned(),
        AlterTransformAction::Properties(PropertyChange::Set(properties)) => {
            let pairs: Vec<String> = properties.iter().map(property).collect();
            format!("SET TBLPROPERTIES ({})", pairs.join(", "))
        }
        AlterTransformAction::Properties(PropertyChange::Unset { keys, if_exists: may_lack }) => {
            let keys: Vec<String> = keys.iter().map(|key| literal(key)).collect();
            format!("UNSET TBLPROPERTIES{} ({})", exists(*may_lack), keys.join(", "))
        }
        AlterTransformAction::AddConstraint(AddedConstraint::Expectation(added)) => {
            format!("ADD {}", expectation(added))
        }
        AlterTransformAction::AddConstraint(AddedConstraint::Key(added)) => {
            format!("ADD {}", key(added))
        }
        AlterTransformAction::DropConstraint { name, if_exists } => {
            format!("DROP CONSTRAINT{} {}", exists(*if_exists), word(name))
        }
    };
    format!("ALTER {} {} {action}", kind.as_sql(), named(name))
}

fn refreshed(refresh: &Refresh) -> String {
    let kind = refresh.kind.map(|kind| format!(" {}", kind.as_sql())).unwrap_or_default();
    let names: Vec<String> = refresh.names.iter().map(named).collect();
    let mut text = format!("REFRESH{kind} {}", names.join(", "));
    if refresh.full {
        text.push_str(" FULL");
    }
    if let Some(condition) = &refresh.condition {
        text.push_str(&format!(" WHERE {condition}"));
    }
    text.push_str(&using_inputs(&refresh.inputs));
    text.push_str(match refresh.along {
        Along::Nothing => "",
        Along::Upstream => " WITH UPSTREAM",
        Along::Downstream => " WITH DOWNSTREAM",
    });
    if refresh.sync {
        text.push_str(&waiting(Wait::ForTheEnd { timeout_ms: refresh.timeout_ms }));
    }
    if let Some(url) = &refresh.notify {
        text.push_str(&format!(" NOTIFY {}", literal(url)));
    }
    let options = &refresh.options;
    let options = [
        options.idempotency_key.as_ref().map(|key| format!("idempotency_key = {}", literal(key))),
        options.priority.map(|priority| format!("priority = {priority}")),
        options.max_attempts.map(|attempts| format!("max_attempts = {attempts}")),
        options.profile.as_ref().map(|profile| format!("profile = {}", literal(profile))),
        options.max_bytes.map(|bytes| format!("max_bytes = {bytes}")),
    ];
    let options: Vec<String> = options.into_iter().flatten().collect();
    if !options.is_empty() {
        text.push_str(&format!(" OPTIONS ({})", options.join(", ")));
    }
    text
}

fn using_inputs(inputs: &[InputVersion]) -> String {
    if inputs.is_empty() {
        return String::new();
    }
    let inputs: Vec<_> = inputs
        .iter()
        .map(|InputVersion { name, version }| format!("{} VERSION {version}", named(name)))
        .collect();
    format!(" USING INPUTS ({})", inputs.join(", "))
}

fn backfilled(backfill: &Backfill) -> String {
    let Backfill { name, from, to, by, parallel, descending, wait } = backfill;
    let mut text = format!("BACKFILL {} FROM {from} TO {to}", named(name));
    if let Some(by) = by {
        let unit = by.unit.map(|unit| format!(" {}", unit.as_sql())).unwrap_or_default();
        text.push_str(&format!(" BY {}{unit}", by.count));
    }
    if let Some(parallel) = parallel {
        text.push_str(&format!(" PARALLEL {parallel}"));
    }
    if *descending {
        text.push_str(" ORDER DESC");
    }
    text.push_str(&waiting(*wait));
    text
}

fn waiting(wait: Wait) -> String {
    match wait {
        Wait::Not => " ASYNC".to_owned(),
        Wait::ForTheEnd { timeout_ms: None } => " SYNC".to_owned(),
        Wait::ForTheEnd { timeout_ms: Some(ms) } => format!(" SYNC TIMEOUT {ms} MILLISECONDS"),
    }
}

fn said_once(once: bool) -> &'static str {
    if once { " ONCE" } else { "" }
}

fn exists(if_exists: bool) -> &'static str {
    if if_exists { " IF EXISTS" } else { "" }
}

fn named(name: &NameParts) -> String {
    let parts: Vec<String> = name.iter().map(|part| word(part)).collect();
    parts.join(".")
}

fn in_parentheses(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| word(name)).collect();
    format!("({})", names.join(", "))
}

/// A name; quoted where it could be something else.
fn word(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if NO_NAMES.contains(&upper.as_str()) || OWN_WORDS.contains(&upper.as_str()) {
        return format!("\"{}\"", name.replace('"', "\"\""));
    }
    quoted(name)
}

fn line(text: &mut String, clause: &str) {
    text.push('\n');
    text.push_str(clause);
}

#[cfg(test)]
mod tests;
