//! Statements that a client prepared, and runs of them that it began.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow::{
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use query::queries::{Planned, Prepared};

use super::{encode::Format, own::Own, rows::Rows};

/// A prepared statement.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) body: Body,
    /// The types of its parameters.
    pub(super) parameters: Vec<u32>,
    /// Types that a PREPARE gave the first of them.
    pub(super) given: Vec<String>,
    /// Whether the client was told its columns: then it gets those.
    pub(super) described: AtomicBool,
}

pub(super) enum Body {
    /// There is nothing in it.
    Empty,
    /// About the session.
    Own(Own),
    /// DECLARE of a cursor over a query.
    Declare { cursor: String, query: Box<Prepared> },
    /// For the engine.
    Engine(Box<Prepared>),
}

impl Statement {
    /// The columns that a run gets told, when they cannot be those of the plan any more.
    pub(super) fn told(&self, prepared: &Prepared, planned: &Planned) -> SchemaRef {
        let told = prepared.schema();
        let same = told.fields().len() == planned.schema().fields().len();
        if same && self.described.load(Ordering::Relaxed) { told } else { planned.schema() }
    }
}

/// One run of a statement, begun or not.
pub(super) struct Portal {
    pub(super) statement: Arc<Statement>,
    pub(super) formats: Vec<Format>,
    pub(super) run: Run,
}

pub(super) enum Run {
    /// Nothing to do.
    Empty,
    /// About the session.
    Own(Own),
    /// DECLARE of a cursor, planned.
    Declare { cursor: String, planned: Box<Planned>, told: SchemaRef },
    /// A query that waits for its first row to be asked for.
    Planned { planned: Box<Planned>, told: SchemaRef },
    /// A query of which some rows were sent.
    Running(Rows),
    /// A statement that has not taken effect yet, with its parameters.
    Command(Option<RecordBatch>),
    /// It is over.
    Ended,
}

impl Portal {
    /// A portal that a DECLARE made.
    pub(super) fn cursor(statement: Arc<Statement>, rows: Rows) -> Self {
        Self { statement, formats: Vec::new(), run: Run::Running(rows) }
    }

    /// The columns of its rows, where it knows them by itself.
    pub(super) fn schema(&self) -> SchemaRef {
        match &self.run {
            Run::Planned { told, .. } => Arc::clone(told),
            Run::Running(rows) => Arc::clone(rows.schema()),
            Run::Own(Own::Show(key)) => shown(key),
            _ => Arc::new(Schema::empty()),
        }
    }
}

/// The column of a setting that is shown.
pub(super) fn shown(key: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(key, DataType::Utf8, true)]))
}
