//! What a client can say, as types.

mod insert;
mod rights;
mod transform;

use std::fmt;

use sqlparser::ast;

use model::{
    name::ObjectName,
    object::{PathColumn, Properties, TableFormat},
    transform::FoundFiles,
};

pub use insert::{Insert, OldRows, Partition, Replaced};
pub use rights::{
    Expiry, Granted, OwnedObject, PolicyAction, PrivilegeOf, RightsStatement, SecurableName,
};
pub use transform::{
    AddedConstraint, Along, AlterTransform, AlterTransformAction, Backfill, CreateFlow,
    CreateMaterializedView, CreateMode, CreateStreamingTable, DeclaredKey, DeclaredKeyKind,
    FlowBody, FolderAction, InputVersion, Percent, Quarantine, QuarantineAction, Refresh,
    RefreshOptions, Step, StepUnit, Wakes,
};

/// One parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Something that only reads: SELECT, WITH, VALUES, TABLE, set operations.
    Query(Query),
    /// SUBSTRAIT 'base64': a query as a plan of Substrait.
    Substrait {
        /// The plan, in base64.
        plan: String,
    },
    /// EXPLAIN of a statement; nothing takes effect.
    Explain {
        /// EXPLAIN ANALYZE: run the query and show its metrics. Only queries.
        analyze: bool,
        /// EXPLAIN VERBOSE.
        verbose: bool,
        /// What to explain.
        statement: Box<Statement>,
    },
    /// INSERT.
    Insert(Insert),
    /// DELETE, UPDATE or MERGE.
    Change(Change),
    /// TRUNCATE [TABLE].
    Truncate {
        /// The table that loses its rows.
        target: NameParts,
    },
    /// ALTER TABLE and COMMENT ON.
    Alter(Alter),
    /// COPY … TO.
    Copy(Box<Copy>),
    /// OPTIMIZE, VACUUM, RESTORE, VALIDATE, CONVERT.
    Maintain(Maintain),
    /// CREATE SCHEMA.
    CreateSchema {
        /// What to create: a schema, perhaps with the catalog before it.
        name: NameParts,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// COMMENT of the schema.
        comment: Option<String>,
    },
    /// DROP SCHEMA.
    DropSchema {
        /// What to drop: a schema, perhaps with the catalog before it.
        name: NameParts,
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE: with all that is in it.
        cascade: bool,
    },
    /// CREATE TABLE, also AS query, also EXTERNAL.
    CreateTable(CreateTable),
    /// CREATE VIEW.
    CreateView(CreateView),
    /// CREATE TEMPORARY VIEW: for the other statements of a folder, and without an object.
    CreateTemporaryView(Box<CreateView>),
    /// CREATE MATERIALIZED VIEW.
    CreateMaterializedView(CreateMaterializedView),
    /// CREATE STREAMING TABLE.
    CreateStreamingTable(Box<CreateStreamingTable>),
    /// CREATE FLOW.
    CreateFlow(Box<CreateFlow>),
    /// DROP TABLE, VIEW, MATERIALIZED VIEW or STREAMING TABLE.
    Drop(Drop),
    /// DROP FLOW.
    DropFlow {
        /// What to drop.
        name: NameParts,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// ALTER MATERIALIZED VIEW and ALTER STREAMING TABLE.
    AlterTransform(AlterTransform),
    /// REFRESH.
    Refresh(Refresh),
    /// EXPLAIN REFRESH name [FULL] [USING INPUTS (…)]: how a refresh would be done now; nothing takes
    /// effect.
    ExplainRefresh {
        /// The transform.
        name: NameParts,
        /// FULL.
        full: bool,
        /// USING INPUTS.
        inputs: Vec<InputVersion>,
    },
    /// VERIFY name [AT RUN id] [SAMPLE n PERCENT OF KEYS] [ASYNC | SYNC [TIMEOUT interval]]: is the
    /// stored result what its query says.
    Verify {
        /// The transform.
        name: NameParts,
        /// AT RUN: what this run has made is compared, not the newest result. As written.
        run: Option<String>,
        /// SAMPLE: only rows of so many of its keys are compared.
        sample: Option<Percent>,
        /// When to answer.
        wait: Wait,
    },
    /// BACKFILL.
    Backfill(Backfill),
    /// SUSPEND name: it refreshes no more by itself.
    Suspend {
        /// The transform.
        name: NameParts,
    },
    /// RESUME name: it does again.
    Resume {
        /// The transform.
        name: NameParts,
    },
    /// SUSPEND FOLDER and RESUME FOLDER: as SUSPEND and RESUME of each transform that a folder declares.
    Folder {
        /// What becomes of them.
        action: FolderAction,
        /// The folder, as written.
        folder: String,
    },
    /// PURGE QUARANTINE and RELEASE QUARANTINE.
    Quarantine(Quarantine),
    /// SHOW JOBS, DESCRIBE JOB and the rest.
    Job(JobStatement),
    /// CANCEL QUERY id [REASON str].
    CancelQuery {
        /// The id, as written.
        query: String,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Roles, GRANT and REVOKE, owners, row filters and masks.
    Rights(RightsStatement),
    /// SHOW and DESCRIBE of objects.
    Show(Show),
    /// SET key = value.
    Set {
        /// The key in lower case, its parts joined with `.`.
        key: String,
        /// The value as text, without quotes.
        value: String,
    },
}

/// Parts of a name as they were written (quotes removed, unquoted parts in lower case).
pub type NameParts = Vec<String>;

/// A query, with the tables it names.
#[derive(Debug)]
pub struct Query {
    /// For the planner. Names are as written; a time travel clause has become part of the name,
    /// see [`TableUse`].
    pub ast: Box<ast::Query>,
    /// Each table that is named, once; names of its own CTEs are left out.
    pub tables: Vec<TableUse>,
    /// Files that it reads by a function, each once.
    pub files: Vec<FilesUse>,
    /// Placeholders, counted from 1: `?` were numbered in order of appearance.
    pub parameters: usize,
}

impl Clone for Query {
    /// A chain of a thousand operators is a tree that is as deep, and copying it needs more stack
    /// than a worker thread has.
    fn clone(&self) -> Self {
        on_large_stack(|| Self {
            ast: self.ast.clone(),
            tables: self.tables.clone(),
            files: self.files.clone(),
            parameters: self.parameters,
        })
    }
}

/// Runs something that goes down a syntax tree where it cannot run out of stack.
pub(crate) fn on_large_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(16 << 20, 64 << 20, run)
}

/// One use of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableUse {
    /// The name as written, without the time travel clause.
    pub name: NameParts,
    /// The version that was asked for.
    pub at: Option<TimeTravel>,
    /// The name by which the AST refers to this use: equal to `name`, or with `@` and the time
    /// travel appended to the last part (a name itself can never hold a `@`).
    pub planned_name: NameParts,
}

/// The function that reads files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilesFunction {
    /// `read_parquet`, `read_csv` and `read_json`; never Delta.
    Of(TableFormat),
    /// `read_files`, whose options say what the files are.
    Any,
}

/// `read_parquet('place')` and its like in the place of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesUse {
    /// Which function it is.
    pub function: FilesFunction,
    /// A file, a folder or a pattern, as it was written.
    pub place: String,
    /// Options by their names in lower case.
    pub options: Properties,
    /// STREAM: each file once. Only queries of flows have it, and only of `read_files`.
    pub is_stream: bool,
    /// The query names `_metadata`, so there is that column too.
    pub has_metadata: bool,
    /// What somebody has found out about the files before. Not a part of the text.
    pub found: Option<FoundFiles>,
}

impl FilesUse {
    /// The name by which the AST refers to it: the call, and a `@`, which no name can hold. Calls that
    /// say the same have one name, and no others do.
    #[must_use]
    pub fn planned_name(&self) -> String {
        format!("{self}@")
    }

    /// The function's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self.function {
            FilesFunction::Of(format) => format!("read_{}", format.as_sql().to_lowercase()),
            FilesFunction::Any => "read_files".to_owned(),
        }
    }
}

impl fmt::Display for FilesUse {
    /// The call as SQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        if self.is_stream {
            f.write_str("STREAM ")?;
        }
        write!(f, "{}({}", self.name(), quoted(&self.place))?;
        for (option, value) in &self.options {
            write!(f, ", {} => {}", model::name::quote(option), quoted(value))?;
        }
        f.write_str(")")
    }
}

/// VERSION AS OF, TIMESTAMP AS OF, `table_changes`, STREAM or QUARANTINE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimeTravel {
    /// A Delta version.
    Version(i64),
    /// The newest version committed at or before this time, as text for the planner to read.
    Timestamp(String),
    /// The rows that changed from one version, or time, to another, both included.
    Changes {
        /// The first.
        from: Box<Self>,
        /// The last; the newest one when it is left out.
        to: Option<Box<Self>>,
    },
    /// STREAM: the rows that came since the last run. Only queries of flows have it.
    Stream(StreamRead),
    /// QUARANTINE: the rows of a transform that its expectations sent there.
    Quarantine,
}

impl TimeTravel {
    /// Whether it reads the newest version too: changes without an end, and streams.
    #[must_use]
    pub fn reads_newest(&self) -> bool {
        matches!(self, Self::Changes { to: None, .. } | Self::Stream(_))
    }
}

/// How a STREAM is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StreamRead {
    /// START: where the first run begins.
    pub start: StreamStart,
    /// ON_CHANGE: what a commit means that did more than add rows.
    pub on_change: OnChange,
}

/// Where the first run of a STREAM begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum StreamStart {
    /// 'earliest', and where nothing is said: with all rows that are there.
    #[default]
    Earliest,
    /// 'latest': with the rows that come from then on.
    Latest,
    /// With the rows that come after a version.
    Version(i64),
    /// With the rows that come after a time, as text for the planner to read.
    Timestamp(String),
}

/// What a commit in the source of a STREAM means that did more than add rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnChange {
    /// 'fail', and where nothing is said: the run fails.
    #[default]
    Fail,
    /// 'skip': it is left out and counted.
    Skip,
    /// 'changes': its rows come with `_change_type` and `_commit_version`, as all rows do.
    Changes,
}

impl OnChange {
    /// Every answer, with the word that SQL uses.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Skip, Self::Changes];

    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Changes => "changes",
        }
    }
}

/// DELETE, UPDATE or MERGE: which rows of a table it is about, and what becomes of them.
///
/// The expressions of all clauses are the items of `rows`' SELECT list, in order of appearance, and
/// the clauses name them by their number: so one walk finds every table that the statement reads.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which of the three it is.
    pub kind: ChangeKind,
    /// The table whose rows change.
    pub target: NameParts,
    /// `SELECT e0, e1, … FROM target AS t …`. The first relation of the FROM clause is the target,
    /// always with an alias. DELETE and UPDATE: the relations of USING or FROM follow, and WHERE is the
    /// statement's. MERGE: `FROM target AS t JOIN source AS s ON condition`, an inner join of exactly two.
    pub rows: Query,
    /// What is done, in order: the first clause that fits a row decides. One for DELETE and UPDATE.
    pub clauses: Vec<ChangeClause>,
    /// MERGE WITH SCHEMA EVOLUTION.
    pub schema_evolution: bool,
}

/// The statement that changes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// DELETE.
    Delete,
    /// UPDATE.
    Update,
    /// MERGE.
    Merge,
}

/// One WHEN of MERGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeClause {
    /// Which pairs of rows it is about.
    pub when: When,
    /// AND condition: number of its expression.
    pub condition: Option<usize>,
    /// What becomes of the row.
    pub action: ChangeAction,
}

/// Which pairs of a target row and a source row a clause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// MATCHED: both are there.
    Matched,
    /// NOT MATCHED [BY TARGET]: there is only a source row.
    NotMatchedByTarget,
    /// NOT MATCHED BY SOURCE: there is only a target row.
    NotMatchedBySource,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeAction {
    /// It goes.
    Delete,
    /// UPDATE SET column = expression, …; the numbers are those of the expressions.
    Update(Vec<(String, usize)>),
    /// UPDATE SET *: every column takes the source's value of that name.
    UpdateAll,
    /// INSERT (columns) VALUES (expressions). No columns: all of the table in their order.
    Insert {
        /// The columns, when they were named.
        columns: Vec<String>,
        /// Numbers of the expressions.
        values: Vec<usize>,
    },
    /// INSERT *: every column takes the source's value of that name.
    InsertAll,
}

/// ALTER TABLE, COMMENT ON TABLE and COMMENT ON COLUMN.
#[derive(Debug, Clone)]
pub struct Alter {
    /// The table.
    pub target: NameParts,
    /// IF EXISTS.
    pub if_exists: bool,
    /// What changes.
    pub action: AlterAction,
}

/// What ALTER TABLE changes.
#[derive(Debug, Clone)]
pub enum AlterAction {
    /// ADD COLUMN c type [COMMENT text], or ADD COLUMNS (…): at the end.
    AddColumns(Vec<Column>),
    /// ALTER COLUMN c DROP NOT NULL.
    DropNotNull {
        /// The column.
        column: String,
    },
    /// SET or UNSET TBLPROPERTIES, or CLUSTER BY.
    Properties(PropertyChange),
    /// ADD CONSTRAINT name CHECK (condition).
    AddCheck(Check),
    /// DROP CONSTRAINT [IF EXISTS] name.
    DropCheck {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// COMMENT ON TABLE t IS text, or NULL.
    Comment(Option<String>),
    /// ALTER COLUMN c COMMENT text, or COMMENT ON COLUMN t.c IS text or NULL.
    ColumnComment {
        /// The column.
        column: String,
        /// The text.
        comment: Option<String>,
    },
}

/// What ALTER changes of the properties of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyChange {
    /// SET TBLPROPERTIES, or CLUSTER BY (…), which is one of them.
    Set(Properties),
    /// UNSET TBLPROPERTIES [IF EXISTS] ('k', …), or CLUSTER BY NONE.
    Unset {
        /// Their keys.
        keys: Vec<String>,
        /// A key that is not set is no error.
        if_exists: bool,
    },
}

/// A CHECK constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its condition as written.
    pub condition: String,
}

/// When a statement that queues a job answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// SYNC, and where nothing is said: when the job has ended.
    ForTheEnd {
        /// TIMEOUT: wait at most so many milliseconds.
        timeout_ms: Option<u64>,
    },
    /// ASYNC: at once, with the job.
    Not,
}

/// Statements that look after a table without changing its rows.
#[derive(Debug, Clone)]
pub enum Maintain {
    /// OPTIMIZE t [WHERE condition] [ZORDER BY (columns)] [ASYNC | SYNC [TIMEOUT interval]].
    Optimize {
        /// The table.
        target: NameParts,
        /// `SELECT condition FROM target WHERE condition`: only partitions that fulfil it.
        partitions: Option<Query>,
        /// ZORDER BY: the columns.
        zorder_by: Vec<String>,
        /// When to answer.
        wait: Wait,
    },
    /// VACUUM t [LITE | FULL] [RETAIN n HOURS] [DRY RUN] [ASYNC | SYNC [TIMEOUT interval]].
    Vacuum {
        /// The table.
        target: NameParts,
        /// FULL: files that no version ever knew go too.
        full: bool,
        /// RETAIN, in milliseconds.
        retain_ms: Option<u64>,
        /// DRY RUN: the files are only shown.
        dry_run: bool,
        /// When to answer.
        wait: Wait,
    },
    /// RESTORE [TABLE] t TO VERSION | TIMESTAMP AS OF ….
    Restore {
        /// The table.
        target: NameParts,
        /// The version to go back to.
        to: TimeTravel,
    },
    /// VALIDATE [TABLE] t.
    Validate {
        /// The table.
        target: NameParts,
    },
    /// CONVERT TO DELTA parquet.'place' [PARTITIONED BY (column type, …)].
    Convert {
        /// The folder as written.
        location: String,
        /// The columns that the folders in it say.
        partitioned_by: Vec<Column>,
    },
}

/// COPY … TO.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Makes the rows.
    pub source: Query,
    /// The place as written.
    pub location: String,
    /// STORED AS; never Delta.
    pub format: Option<TableFormat>,
    /// OPTIONS, for writers of files.
    pub options: Properties,
}

/// CREATE TABLE in all its forms.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// What to create.
    pub name: NameParts,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// OR REPLACE.
    pub or_replace: bool,
    /// EXTERNAL was said: the data has to be there.
    pub external: bool,
    /// Columns, empty for AS and for external tables without a column list.
    pub columns: Vec<Column>,
    /// Declared primary key.
    pub primary_key: Vec<String>,
    /// CHECK constraints of the column list.
    pub checks: Vec<Check>,
    /// LIKE: the table whose columns, partitioning, checks and comment the new one gets.
    pub like: Option<NameParts>,
    /// PARTITIONED BY, names only.
    pub partitioned_by: Vec<String>,
    /// STORED AS or USING; `None` means Delta.
    pub format: Option<TableFormat>,
    /// LOCATION as written.
    pub location: Option<String>,
    /// PATH COLUMNS: one for each placeholder of the location.
    pub path_columns: Vec<PathColumn>,
    /// COMPLETE WHEN: the object that a folder has to hold before it counts.
    pub complete_when: Option<String>,
    /// OPTIONS or WITH, for readers of files.
    pub options: Properties,
    /// TBLPROPERTIES.
    pub properties: Properties,
    /// COMMENT of the table.
    pub comment: Option<String>,
    /// AS query.
    pub query: Option<Query>,
}

/// A column of CREATE TABLE.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its SQL type, for the planner to turn into an Arrow type.
    pub data_type: ast::DataType,
    /// False after NOT NULL or as part of the primary key.
    pub nullable: bool,
    /// `COMMENT` text.
    pub comment: Option<String>,
    /// The expression of `GENERATED ALWAYS AS (…)`, as it was written.
    pub generated: Option<String>,
}

/// CREATE VIEW.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// What to create.
    pub name: NameParts,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// OR REPLACE.
    pub or_replace: bool,
    /// Names for the columns, when given.
    pub columns: Vec<String>,
    /// COMMENT of the view.
    pub comment: Option<String>,
    /// AS query.
    pub query: Query,
    /// The whole statement as written.
    pub definition: String,
}

/// What a DROP says it drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// DROP TABLE, also EXTERNAL.
    Table,
    /// DROP VIEW.
    View,
    /// DROP MATERIALIZED VIEW.
    MaterializedView,
    /// DROP STREAMING TABLE.
    StreamingTable,
}

impl DropKind {
    /// The words that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
            Self::StreamingTable => "STREAMING TABLE",
        }
    }
}

/// DROP TABLE, VIEW, MATERIALIZED VIEW or STREAMING TABLE.
#[derive(Debug, Clone)]
pub struct Drop {
    /// What kind was said.
    pub kind: DropKind,
    /// What to drop.
    pub name: NameParts,
    /// IF EXISTS.
    pub if_exists: bool,
    /// PURGE: the data goes too.
    pub purge: bool,
}

/// Statements about jobs. Ids are as written.
#[derive(Debug, Clone)]
pub enum JobStatement {
    /// SHOW JOBS [WHERE …] [LIMIT n]: rewritten into a query on `system.jobs`.
    Show(Query),
    /// DESCRIBE JOB id.
    Describe {
        /// The id.
        job: String,
    },
    /// WAIT FOR JOB id [TIMEOUT interval].
    Wait {
        /// The id.
        job: String,
        /// How long to wait at most, in milliseconds.
        timeout_ms: Option<u64>,
    },
    /// CANCEL JOB id [REASON str].
    Cancel {
        /// The id.
        job: String,
        /// Why, for people.
        reason: Option<String>,
    },
    /// APPROVE JOB id.
    Approve {
        /// The id.
        job: String,
    },
    /// RETRY JOB id.
    Retry {
        /// The id.
        job: String,
    },
    /// RETRY JOB id FROM FAILED: what did not succeed of all that was queued together with it.
    RetryFailed {
        /// The id.
        job: String,
    },
}

/// Statements that show what there is.
#[derive(Debug, Clone)]
pub enum Show {
    /// SHOW SCHEMAS or SHOW DATABASES.
    Schemas,
    /// SHOW TABLES [IN schema]; also SHOW VIEWS, MATERIALIZED VIEWS and STREAMING TABLES.
    Tables {
        /// Only those of this schema.
        schema: Option<String>,
        /// Only this kind; all kinds when none was said.
        kind: Option<DropKind>,
    },
    /// SHOW COLUMNS FROM t, DESCRIBE [TABLE] t.
    Columns {
        /// The table or view.
        name: NameParts,
    },
    /// DESCRIBE HISTORY t [LIMIT n]: newest first.
    History {
        /// The table.
        name: NameParts,
        /// How many versions at most.
        limit: Option<u64>,
    },
    /// DESCRIBE DETAIL t.
    Detail {
        /// The table.
        name: NameParts,
    },
    /// SHOW CREATE TABLE, VIEW, MATERIALIZED VIEW or STREAMING TABLE.
    Create {
        /// The table or view.
        name: NameParts,
    },
    /// SHOW key, SHOW ALL.
    Setting {
        /// The key in lower case; all settings when none was said.
        key: Option<String>,
    },
}

/// Reads `schema.name` from parts with a default schema; a thin, documented front of the model.
pub fn object_name(
    parts: &[String],
    default_schema: &str,
) -> Result<ObjectName, model::name::NameError> {
    ObjectName::from_parts(parts, default_schema)
}
