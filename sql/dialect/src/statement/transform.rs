//! Statements that declare, run and look after transforms.

use std::fmt;

use model::{
    name::{NameError, ObjectName},
    object::Properties,
    profile::Resources,
    schedule::Schedule,
    transform::{
        ChangeSpec, DeclaredColumn, Expectation, Key, KeyKind, KeyMode, Misfire, OnFullRefresh,
        RefreshPolicy, Trigger,
    },
};

use super::{DropKind, NameParts, PropertyChange, Query, Wait};

/// What CREATE does when the name is taken by an object of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// An error.
    Create,
    /// Nothing.
    IfNotExists,
    /// CREATE OR REFRESH: the stored definition becomes this one, and a refresh is queued.
    OrRefresh,
    /// CREATE OR REPLACE: as OR REFRESH, and the next refresh recomputes whatever has changed.
    OrReplace,
}

/// CREATE MATERIALIZED VIEW.
#[derive(Debug, Clone)]
pub struct CreateMaterializedView {
    /// What to create.
    pub name: NameParts,
    /// What to do when it exists.
    pub mode: CreateMode,
    /// PRIVATE or TEMPORARY: its pipeline's own. Here nobody sees an object without a right on it anyway.
    pub private: bool,
    /// Declared columns, when given.
    pub columns: Vec<DeclaredColumn>,
    /// CONSTRAINT … EXPECT, in the order in which they were written.
    pub expectations: Vec<Expectation>,
    /// Keys, in the order in which they were written, each with a name.
    pub keys: Vec<DeclaredKey>,
    /// PARTITIONED BY.
    pub partitioned_by: Vec<String>,
    /// LOCATION as written.
    pub location: Option<String>,
    /// COMMENT of the view.
    pub comment: Option<String>,
    /// TBLPROPERTIES.
    pub properties: Properties,
    /// SCHEDULE.
    pub schedule: Option<Schedule>,
    /// SCHEDULE … MISFIRE.
    pub misfire: Misfire,
    /// TRIGGER ON UPDATE.
    pub trigger: Option<Trigger>,
    /// REFRESH POLICY.
    pub policy: RefreshPolicy,
    /// REFRESH POLICY … ON FULL REFRESH.
    pub on_full_refresh: OnFullRefresh,
    /// OPTIONS: what its runs may take.
    pub resources: Resources,
    /// AS query.
    pub query: Query,
    /// The whole statement as written.
    pub definition: String,
}

/// CREATE STREAMING TABLE.
#[derive(Debug, Clone)]
pub struct CreateStreamingTable {
    /// What to create.
    pub name: NameParts,
    /// What to do when it exists.
    pub mode: CreateMode,
    /// PRIVATE or TEMPORARY: its pipeline's own. Here nobody sees an object without a right on it anyway.
    pub private: bool,
    /// Declared columns, when given.
    pub columns: Vec<DeclaredColumn>,
    /// CONSTRAINT … EXPECT, in the order in which they were written.
    pub expectations: Vec<Expectation>,
    /// Keys, in the order in which they were written, each with a name.
    pub keys: Vec<DeclaredKey>,
    /// PARTITIONED BY.
    pub partitioned_by: Vec<String>,
    /// LOCATION as written.
    pub location: Option<String>,
    /// COMMENT of the table.
    pub comment: Option<String>,
    /// TBLPROPERTIES.
    pub properties: Properties,
    /// SCHEDULE.
    pub schedule: Option<Schedule>,
    /// SCHEDULE … MISFIRE.
    pub misfire: Misfire,
    /// TRIGGER ON UPDATE.
    pub trigger: Option<Trigger>,
    /// REFRESH POLICY INCREMENTAL ON FULL REFRESH.
    pub on_full_refresh: Option<OnFullRefresh>,
    /// OPTIONS: what its runs may take.
    pub resources: Resources,
    /// The flow that it declares itself; others may come with CREATE FLOW.
    pub flow: Option<FlowBody>,
    /// The whole statement as written.
    pub definition: String,
}

/// CREATE FLOW.
#[derive(Debug, Clone)]
pub struct CreateFlow {
    /// What to create.
    pub name: NameParts,
    /// COMMENT of the flow.
    pub comment: Option<String>,
    /// The streaming table that it feeds.
    pub target: NameParts,
    /// Where its rows come from, and what becomes of them.
    pub body: FlowBody,
    /// The whole statement as written.
    pub definition: String,
}

/// Where the rows of a flow come from, and what becomes of them.
#[derive(Debug, Clone)]
pub struct FlowBody {
    /// ONCE: it runs until it has succeeded once.
    pub once: bool,
    /// Makes the rows; of AUTO CDC `SELECT * FROM STREAM …`.
    pub query: Query,
    /// AUTO CDC: the rows are events. None: they are appended, columns by their names.
    pub changes: Option<ChangeSpec>,
}

/// A key as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredKey {
    /// Its name; one was made when none was written.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// What it promises.
    pub kind: DeclaredKeyKind,
    /// Who keeps the promise.
    pub mode: KeyMode,
}

/// What a key promises; the other object of a foreign key is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredKeyKind {
    /// PRIMARY KEY.
    Primary,
    /// UNIQUE.
    Unique {
        /// NULLS NOT DISTINCT.
        nulls_equal: bool,
    },
    /// FOREIGN KEY … REFERENCES.
    Foreign {
        /// The other object.
        references: NameParts,
        /// Its columns; none when they were left out, which means those of its primary key.
        columns: Vec<String>,
    },
}

impl DeclaredKey {
    /// The key with full names; `default_schema` is that of a name which says none.
    pub fn qualified(self, default_schema: &str) -> Result<Key, NameError> {
        let Self { name, columns, kind, mode } = self;
        let kind = match kind {
            DeclaredKeyKind::Primary => KeyKind::Primary,
            DeclaredKeyKind::Unique { nulls_equal } => KeyKind::Unique { nulls_equal },
            DeclaredKeyKind::Foreign { references, columns } => KeyKind::Foreign {
                references: ObjectName::from_parts(&references, default_schema)?,
                columns,
            },
        };
        Ok(Key { name, columns, kind, mode })
    }
}

/// ALTER MATERIALIZED VIEW or STREAMING TABLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTransform {
    /// What kind was said.
    pub kind: DropKind,
    /// What to alter.
    pub name: NameParts,
    /// What changes.
    pub action: AlterTransformAction,
}

/// What ALTER MATERIALIZED VIEW or STREAMING TABLE changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterTransformAction {
    /// ADD: an error when it has one already.
    Add(Wakes),
    /// ALTER: an error when it has none.
    Alter(Wakes),
    /// DROP SCHEDULE.
    DropSchedule,
    /// DROP TRIGGER.
    DropTrigger,
    /// SET or UNSET TBLPROPERTIES, or CLUSTER BY.
    Properties(PropertyChange),
    /// COMMENT ON … IS text, or NULL.
    Comment(Option<String>),
    /// ADD CONSTRAINT.
    AddConstraint(AddedConstraint),
    /// DROP CONSTRAINT [IF EXISTS] name.
    DropConstraint {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
}

/// A constraint that a transform gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddedConstraint {
    /// EXPECT.
    Expectation(Expectation),
    /// A key.
    Key(DeclaredKey),
}

/// What makes a transform refresh by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wakes {
    /// SCHEDULE … [MISFIRE …].
    Schedule(Schedule, Misfire),
    /// TRIGGER ON UPDATE ….
    Trigger(Trigger),
}

/// Which related transforms a REFRESH takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Only the named ones.
    Nothing,
    /// Those that they read, first.
    Upstream,
    /// Those that read them, after.
    Downstream,
}

/// REFRESH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// MATERIALIZED VIEW, STREAMING TABLE or TABLE, when one was said; TABLE fits both.
    pub kind: Option<DropKind>,
    /// What to refresh.
    pub names: Vec<NameParts>,
    /// FULL: recompute even when nothing changed.
    pub full: bool,
    /// WHERE: only this part of the result is recomputed; SQL over its columns.
    pub condition: Option<String>,
    /// USING INPUTS: versions of inputs that are read in the place of the newest ones.
    pub inputs: Vec<InputVersion>,
    /// WITH UPSTREAM or DOWNSTREAM.
    pub along: Along,
    /// SYNC: answer when the jobs have ended.
    pub sync: bool,
    /// SYNC TIMEOUT, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// NOTIFY: the URL that is told of the end.
    pub notify: Option<String>,
    /// OPTIONS.
    pub options: RefreshOptions,
}

/// `name VERSION n` of USING INPUTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputVersion {
    /// A table or transform that is read.
    pub name: NameParts,
    /// The version that is read of it.
    pub version: i64,
}

/// OPTIONS of REFRESH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefreshOptions {
    /// `idempotency_key`: a second request with it is the first one.
    pub idempotency_key: Option<String>,
    /// `priority`: higher ones go first.
    pub priority: Option<i64>,
    /// `max_attempts`: how often the job is tried.
    pub max_attempts: Option<u32>,
    /// `profile`: what its runs may take, by the configuration.
    pub profile: Option<String>,
    /// `max_bytes`: a run that would read or write more bytes of data files fails.
    pub max_bytes: Option<u64>,
}

/// BACKFILL: one range of a transform is computed again, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// The transform.
    pub name: NameParts,
    /// FROM: a literal as SQL.
    pub from: String,
    /// TO: a literal as SQL.
    pub to: String,
    /// BY: how large a part is; all in one when it is left out.
    pub by: Option<Step>,
    /// PARALLEL: how many parts at a time.
    pub parallel: Option<u32>,
    /// ORDER DESC: the last part first.
    pub descending: bool,
    /// When to answer.
    pub wait: Wait,
}

/// How large one part of a BACKFILL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// So many; at least one.
    pub count: u32,
    /// Of these; of numbers when none was said.
    pub unit: Option<StepUnit>,
}

/// A unit of BACKFILL … BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepUnit {
    /// MINUTE.
    Minute,
    /// HOUR.
    Hour,
    /// DAY.
    Day,
    /// WEEK.
    Week,
    /// MONTH of the calendar.
    Month,
    /// YEAR of the calendar.
    Year,
}

impl StepUnit {
    /// Every unit, the shortest first.
    pub const ALL: [Self; 6] =
        [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Minute => "MINUTE",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
            Self::Week => "WEEK",
            Self::Month => "MONTH",
            Self::Year => "YEAR",
        }
    }
}

/// How much of something: a percentage with at most four digits behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent {
    per_million: u32,
}

impl Percent {
    /// All of it.
    pub const ALL: Self = Self { per_million: 1_000_000 };

    /// So many of a million; nothing where that is none, or more than all.
    #[must_use]
    pub fn of_a_million(per_million: u32) -> Option<Self> {
        let is_some = (1..=Self::ALL.per_million).contains(&per_million);
        is_some.then_some(Self { per_million })
    }

    /// How many of a million it is: between one and all of them.
    #[must_use]
    pub fn per_million(self) -> u32 {
        self.per_million
    }
}

impl fmt::Display for Percent {
    /// The number of percent, such as `0.5`, with no more digits than it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.per_million / 10_000, self.per_million % 10_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// What becomes of the transforms of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderAction {
    /// SUSPEND: they refresh no more.
    Suspend,
    /// RESUME: they do again.
    Resume,
}

impl FolderAction {
    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Suspend => "SUSPEND",
            Self::Resume => "RESUME",
        }
    }
}

/// PURGE QUARANTINE or RELEASE QUARANTINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// What becomes of the rows.
    pub action: QuarantineAction,
    /// The transform whose quarantine it is.
    pub name: NameParts,
    /// WHERE: only these rows; SQL over the columns of the quarantine.
    pub condition: Option<String>,
    /// When RELEASE, which is a job, answers.
    pub wait: Wait,
}

/// What becomes of rows in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineAction {
    /// PURGE: they go.
    Purge,
    /// RELEASE: they go into the transform.
    Release,
}

impl QuarantineAction {
    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Purge => "PURGE",
            Self::Release => "RELEASE",
        }
    }
}
