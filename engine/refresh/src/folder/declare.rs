//! Files to declarations: what each statement of a folder says there should be.

use std::collections::BTreeMap;

use dialect::{
    ScriptStatement,
    statement::{
        CreateFlow, CreateMaterializedView, CreateStreamingTable, CreateView, DeclaredKeyKind,
        JobStatement, NameParts, Query, Show, Statement,
    },
};
use model::{
    name::{ObjectName, RESERVED_SCHEMAS, check_part},
    object::ObjectKind,
};

use super::{
    SourceFile,
    error::{FolderError, Place},
    temporary::{self, TemporaryView},
};

/// The text of a statement.
#[derive(Debug, Clone)]
pub(super) struct StatementText {
    pub(super) sql: String,
    /// Its lines are those of the file, so that an error in it has its line there.
    pub(super) as_written: bool,
}

impl StatementText {
    fn of_file(sql: String) -> Self {
        Self { sql, as_written: true }
    }

    /// The text of another statement, which nobody wrote.
    pub(super) fn rewrite(&mut self, statement: &Statement) {
        if let Some(sql) = dialect::written(statement) {
            *self = Self { sql, as_written: false };
        }
    }
}

/// What all files together declare, in the order of paths and lines.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    pub(super) schemas: BTreeMap<String, DeclaredSchema>,
    pub(super) objects: Vec<Declaration>,
    pub(super) flows: Vec<DeclaredFlow>,
}

/// CREATE FLOW.
#[derive(Debug, Clone)]
pub(super) struct DeclaredFlow {
    pub(super) at: Place,
    pub(super) text: StatementText,
    pub(super) name: ObjectName,
    /// The table that it feeds.
    pub(super) target: ObjectName,
    /// What its query names, system tables left out.
    pub(super) reads: Vec<ObjectName>,
    pub(super) create: Box<CreateFlow>,
}

/// CREATE SCHEMA.
#[derive(Debug, Clone)]
pub(super) struct DeclaredSchema {
    pub(super) at: Place,
    pub(super) text: String,
}

/// CREATE VIEW, CREATE MATERIALIZED VIEW or CREATE STREAMING TABLE.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) at: Place,
    pub(super) text: StatementText,
    pub(super) name: ObjectName,
    /// What the query names directly, system tables left out.
    pub(super) reads: Vec<ObjectName>,
    pub(super) body: DeclaredBody,
}

#[derive(Debug, Clone)]
pub(super) enum DeclaredBody {
    View(Box<CreateView>),
    MaterializedView(Box<CreateMaterializedView>),
    StreamingTable(Box<CreateStreamingTable>),
}

impl Declaration {
    pub(super) fn is_transform(&self) -> bool {
        !matches!(self.body, DeclaredBody::View(_))
    }

    /// Whether it has rows of its own, without further statements.
    pub(super) fn is_fed(&self) -> bool {
        match &self.body {
            DeclaredBody::View(_) => false,
            DeclaredBody::MaterializedView(_) => true,
            DeclaredBody::StreamingTable(table) => table.flow.is_some(),
        }
    }

    pub(super) fn kind(&self) -> ObjectKind {
        match self.body {
            DeclaredBody::View(_) => ObjectKind::View,
            DeclaredBody::MaterializedView(_) => ObjectKind::MaterializedView,
            DeclaredBody::StreamingTable(_) => ObjectKind::StreamingTable,
        }
    }

    /// The beginning of the statement that makes it so, whatever is there.
    pub(super) fn head(&self) -> &'static str {
        match &self.body {
            DeclaredBody::View(_) => "CREATE OR REPLACE VIEW",
            DeclaredBody::MaterializedView(view) if view.private => {
                "CREATE OR REFRESH PRIVATE MATERIALIZED VIEW"
            }
            DeclaredBody::MaterializedView(_) => "CREATE OR REFRESH MATERIALIZED VIEW",
            DeclaredBody::StreamingTable(table) if table.private => {
                "CREATE OR REFRESH PRIVATE STREAMING TABLE"
            }
            DeclaredBody::StreamingTable(_) => "CREATE OR REFRESH STREAMING TABLE",
        }
    }
}

/// Reads every file. The order in which they are sent does not matter.
pub(super) fn declarations(
    files: &[SourceFile],
    default_schema: &str,
) -> Result<Declarations, FolderError> {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut all = Declarations::default();
    let mut places: BTreeMap<ObjectName, Place> = BTreeMap::new();
    let mut temporary = Vec::new();
    for SourceFile { path, text } in files {
        let script = dialect::parse_script(text)
            .map_err(|source| FolderError::Syntax { path: path.clone(), source })?;
        for ScriptStatement { text, line, statement } in script {
            let at = Place { path: path.clone(), line };
            if let Statement::CreateSchema { name, .. } = &statement {
                let name = schema_name(&at, name)?;
                let declared = DeclaredSchema { at, text };
                if let Some(first) = all.schemas.insert(name.clone(), declared.clone()) {
                    let (first, second) = (first.at, declared.at);
                    return Err(FolderError::DeclaredTwice { name, first, second });
                }
                continue;
            }
            let (name, at) = if let Statement::CreateTemporaryView(create) = statement {
                let name = named(&at, &create.name, default_schema)?;
                temporary.push(TemporaryView { at: at.clone(), name: name.clone(), create });
                (name, at)
            } else if let Statement::CreateFlow(create) = statement {
                let flow = flow(at, text, create, default_schema)?;
                let named = (flow.name.clone(), flow.at.clone());
                all.flows.push(flow);
                named
            } else {
                let declaration = declaration(at, text, statement, default_schema)?;
                let named = (declaration.name.clone(), declaration.at.clone());
                all.objects.push(declaration);
                named
            };
            if let Some(first) = places.insert(name.clone(), at.clone()) {
                let (name, second) = (name.to_string(), at);
                return Err(FolderError::DeclaredTwice { name, first, second });
            }
        }
    }
    temporary::inline(&mut all, &temporary, default_schema)?;
    Ok(all)
}

/// The object that a statement at a place names.
pub(super) fn named(
    at: &Place,
    parts: &[String],
    default_schema: &str,
) -> Result<ObjectName, FolderError> {
    ObjectName::from_parts(parts, default_schema)
        .map_err(|source| FolderError::Name { at: at.clone(), source })
}

/// The objects that foreign keys of a transform reference.
fn references(statement: &Statement) -> Vec<NameParts> {
    let keys = match statement {
        Statement::CreateMaterializedView(view) => view.keys.as_slice(),
        Statement::CreateStreamingTable(table) => table.keys.as_slice(),
        _ => &[],
    };
    let references = keys.iter().filter_map(|key| match &key.kind {
        DeclaredKeyKind::Foreign { references, .. } => Some(references.clone()),
        DeclaredKeyKind::Primary | DeclaredKeyKind::Unique { .. } => None,
    });
    references.collect()
}

fn declaration(
    at: Place,
    text: String,
    statement: Statement,
    default_schema: &str,
) -> Result<Declaration, FolderError> {
    let references = references(&statement);
    let (name, query, body) = match statement {
        Statement::CreateView(view) => {
            (view.name.clone(), Some(view.query.clone()), DeclaredBody::View(Box::new(view)))
        }
        Statement::CreateMaterializedView(view) => {
            let query = Some(view.query.clone());
            (view.name.clone(), query, DeclaredBody::MaterializedView(Box::new(view)))
        }
        Statement::CreateStreamingTable(table) => {
            let query = table.flow.as_ref().map(|flow| flow.query.clone());
            (table.name.clone(), query, DeclaredBody::StreamingTable(table))
        }
        other => {
            let statement = first_words(&other);
            return Err(FolderError::NotADeclaration { at, statement });
        }
    };
    let named = |parts: &[String]| named(&at, parts, default_schema);
    let name = named(&name)?;
    let mut reads = query.map_or(Ok(Vec::new()), |query| reads(&query, named))?;
    // What a foreign key references has to be there first as well.
    for references in references {
        let references = named(&references)?;
        if references != name && !reads.contains(&references) {
            reads.push(references);
        }
    }
    Ok(Declaration { at, text: StatementText::of_file(text), name, reads, body })
}

fn flow(
    at: Place,
    text: String,
    create: Box<CreateFlow>,
    default_schema: &str,
) -> Result<DeclaredFlow, FolderError> {
    let named = |parts: &[String]| named(&at, parts, default_schema);
    let (name, target) = (named(&create.name)?, named(&create.target)?);
    let reads = reads(&create.body.query, named)?;
    Ok(DeclaredFlow { at, text: StatementText::of_file(text), name, target, reads, create })
}

/// What a query names, system tables left out.
pub(super) fn reads(
    query: &Query,
    named: impl Fn(&[String]) -> Result<ObjectName, FolderError>,
) -> Result<Vec<ObjectName>, FolderError> {
    let mut reads = Vec::new();
    for table in &query.tables {
        let read = named(&table.name)?;
        if !RESERVED_SCHEMAS.contains(&read.schema()) && !reads.contains(&read) {
            reads.push(read);
        }
    }
    Ok(reads)
}

fn schema_name(at: &Place, parts: &[String]) -> Result<String, FolderError> {
    let name = parts.last().map_or("", String::as_str);
    check_part(name).map_err(|source| FolderError::Name { at: at.clone(), source })?;
    Ok(name.to_owned())
}

fn first_words(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(_) => "a query",
        Statement::Explain { .. } => "EXPLAIN",
        Statement::Insert(_) => "INSERT",
        Statement::Change(_) | Statement::Truncate { .. } => "a statement that changes rows",
        Statement::Alter(_) => "ALTER TABLE",
        Statement::Rights(_) => "a statement about who may do what",
        Statement::Copy(_) => "COPY",
        Statement::Maintain(_) => "a statement that looks after a table",
        Statement::CreateSchema { .. } => "CREATE SCHEMA",
        Statement::DropSchema { .. } => "DROP SCHEMA",
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::CreateTemporaryView(_) => "CREATE TEMPORARY VIEW",
        Statement::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        Statement::CreateStreamingTable(_) => "CREATE STREAMING TABLE",
        Statement::CreateFlow(_) => "CREATE FLOW",
        Statement::Drop(_) | Statement::DropFlow { .. } => "DROP",
        Statement::AlterTransform(_) => "ALTER",
        Statement::ExplainRefresh { .. } => "EXPLAIN REFRESH",
        Statement::Verify { .. } => "VERIFY",
        Statement::Backfill(_) => "BACKFILL",
        Statement::Suspend { .. } => "SUSPEND",
        Statement::Resume { .. } => "RESUME",
        Statement::Folder { action, .. } => action.as_sql(),
        Statement::Quarantine(_) => "a statement about a quarantine",
        Statement::Refresh(_) => "REFRESH",
        Statement::Job(JobStatement::Show(_)) => "SHOW JOBS",
        Statement::Job(JobStatement::Describe { .. }) => "DESCRIBE JOB",
        Statement::Job(JobStatement::Wait { .. }) => "WAIT FOR JOB",
        Statement::Job(JobStatement::Cancel { .. }) => "CANCEL JOB",
        Statement::Job(JobStatement::Retry { .. } | JobStatement::RetryFailed { .. }) => {
            "RETRY JOB"
        }
        Statement::Job(JobStatement::Approve { .. }) => "APPROVE JOB",
        Statement::Show(Show::Columns { .. }) => "DESCRIBE",
        Statement::Show(_) => "SHOW",
        Statement::CancelQuery { .. } => "CANCEL QUERY",
        Statement::Set { .. } => "SET",
        Statement::Substrait { .. } => "SUBSTRAIT",
    }
}
