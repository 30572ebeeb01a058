//! Files to declarations: what each statement of a folder says there should be.

use std::collections::BTreeMap;

use dialect::{
    ScriptStatement,
    statement::{CreateMaterializedView, CreateView, JobStatement, Query, Show, Statement},
};
use model::name::{ObjectName, RESERVED_SCHEMAS, check_part};

use super::{
    SourceFile,
    error::{FolderError, Place},
};

/// What all files together declare, in the order of paths and lines.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    pub(super) schemas: BTreeMap<String, DeclaredSchema>,
    pub(super) objects: Vec<Declaration>,
}

/// CREATE SCHEMA.
#[derive(Debug, Clone)]
pub(super) struct DeclaredSchema {
    pub(super) at: Place,
    pub(super) text: String,
}

/// CREATE VIEW or CREATE MATERIALIZED VIEW.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) at: Place,
    pub(super) text: String,
    pub(super) name: ObjectName,
    /// What the query names directly, system tables left out.
    pub(super) reads: Vec<ObjectName>,
    pub(super) body: DeclaredBody,
}

#[derive(Debug, Clone)]
pub(super) enum DeclaredBody {
    View(Box<CreateView>),
    MaterializedView(Box<CreateMaterializedView>),
}

impl Declaration {
    pub(super) fn is_transform(&self) -> bool {
        matches!(self.body, DeclaredBody::MaterializedView(_))
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
            let declaration = declaration(at, text, statement, default_schema)?;
            let Declaration { name, at, .. } = &declaration;
            if let Some(first) = places.insert(name.clone(), at.clone()) {
                let (name, second) = (name.to_string(), at.clone());
                return Err(FolderError::DeclaredTwice { name, first, second });
            }
            all.objects.push(declaration);
        }
    }
    Ok(all)
}

fn declaration(
    at: Place,
    text: String,
    statement: Statement,
    default_schema: &str,
) -> Result<Declaration, FolderError> {
    let (name, query, body) = match statement {
        Statement::CreateView(view) => {
            (view.name.clone(), view.query.clone(), DeclaredBody::View(Box::new(view)))
        }
        Statement::CreateMaterializedView(view) => {
            (view.name.clone(), view.query.clone(), DeclaredBody::MaterializedView(Box::new(view)))
        }
        other => {
            let statement = first_words(&other);
            return Err(FolderError::NotADeclaration { at, statement });
        }
    };
    let named = |parts: &[String]| {
        ObjectName::from_parts(parts, default_schema)
            .map_err(|source| FolderError::Name { at: at.clone(), source })
    };
    let name = named(&name)?;
    let reads = reads(&query, named)?;
    Ok(Declaration { at, text, name, reads, body })
}

fn reads(
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
        Statement::Quarantine(_) => "a statement about a quarantine",
        Statement::Refresh(_) => "REFRESH",
        Statement::Job(JobStatement::Show(_)) => "SHOW JOBS",
        Statement::Job(JobStatement::Describe { .. }) => "DESCRIBE JOB",
        Statement::Job(JobStatement::Wait { .. }) => "WAIT FOR JOB",
        Statement::Job(JobStatement::Cancel { .. }) => "CANCEL JOB",
        Statement::Job(JobStatement::Retry { .. }) => "RETRY JOB",
        Statement::Show(Show::Columns { .. }) => "DESCRIBE",
        Statement::Show(_) => "SHOW",
        Statement::CancelQuery { .. } => "CANCEL QUERY",
        Statement::Set { .. } => "SET",
    }
}
