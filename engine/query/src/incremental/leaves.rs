//! The tables below a query: as they were for the last run, as they are for this one, and what
//! happened in between.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    catalog::{TableProvider, default_table_source::DefaultTableSource},
    common::tree_node::{Transformed, TreeNode},
    datasource::source_as_provider,
    error::DataFusionError,
    logical_expr::{LogicalPlan, TableScan},
};
use model::{id::ObjectId, job::PinnedInput};

use super::Why;
use crate::{error::QueryError, queries::Inner, resolve::Leaf};

/// One table that a query reads.
struct Versions {
    provider: Arc<dyn TableProvider>,
    /// `None` when it has the same rows for both runs.
    changed: Option<Changed>,
}

struct Changed {
    before: Arc<dyn TableProvider>,
    came: Option<Arc<dyn TableProvider>>,
    went: Option<Arc<dyn TableProvider>>,
}

/// Every table that a query reads.
pub(super) struct Leaves {
    versions: Vec<Versions>,
    /// Bytes of the rows that came and went.
    pub(super) bytes_changed: u64,
    /// Bytes of all tables that have changed.
    pub(super) bytes_all: u64,
}

/// Which rows of a table are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Before,
    Came,
    Went,
}

/// Why the last run has not read what this one reads.
fn not_read<'a>(leaf: &Leaf, mut last: impl Iterator<Item = &'a PinnedInput>) -> Why {
    let name = leaf.name.to_string();
    match last.any(|before| before.name.to_string() == name) {
        true => {
            let why = format!("'{name}' was dropped and created anew");
            Why::new("INPUT_CREATED_ANEW", why)
        }
        false => Why::new("INPUT_IS_NEW", format!("'{name}' was not read by the last run")),
    }
}

impl Leaves {
    /// Looks into the logs of the tables that have changed. `Err(Why)` when one of them does not
    /// tell what has.
    pub(super) async fn open(
        inner: &Inner,
        leaves: &[Leaf],
        last: &[PinnedInput],
        now: &[PinnedInput],
    ) -> Result<Result<Self, Why>, QueryError> {
        let last: HashMap<ObjectId, &PinnedInput> =
            last.iter().map(|input| (input.object, input)).collect();
        let now: HashMap<ObjectId, &PinnedInput> =
            now.iter().map(|input| (input.object, input)).collect();
        let mut found =
            Self { versions: Vec::with_capacity(leaves.len()), bytes_changed: 0, bytes_all: 0 };
        let mut deltas: HashMap<ObjectId, Arc<lake::Delta>> = HashMap::new();
        for leaf in leaves {
            let mut versions = Versions { provider: Arc::clone(&leaf.provider), changed: None };
            if leaf.is_pinned {
                let (Some(before), Some(after)) = (last.get(&leaf.object), now.get(&leaf.object))
                else {
                    return Ok(Err(not_read(leaf, last.values().copied())));
                };
                if before.version != after.version {
                    let Some(location) = &leaf.location else {
                        let why = format!("the files of '{}' have no log", leaf.name);
                        return Ok(Err(Why::new("INPUT_WITHOUT_LOG", why)));
                    };
                    if before.delta_table_id != after.delta_table_id {
                        let why = format!("'{}' is another table than before", leaf.name);
                        return Ok(Err(Why::new("INPUT_CREATED_ANEW", why)));
                    }
                    if after.version < before.version {
                        let (from, to) = (before.version, after.version);
                        let why = format!("'{}' from version {from} to {to}", leaf.name);
                        return Ok(Err(Why::new("INPUT_WENT_BACK", why)));
                    }
                    let lake = &inner.options.lake;
                    let delta = match deltas.get(&leaf.object) {
                        Some(delta) => Arc::clone(delta),
                        None => {
                            let delta = lake.delta(location, before.version, after.version).await;
                            let delta = match delta {
                                Ok(delta) => Arc::new(delta),
                                Err(error) if error.code().is_transient() => {
                                    return Err(error.into());
                                }
                                Err(error) => {
                                    let why = format!("'{}': {error}", leaf.name);
                                    return Ok(Err(Why::new("INPUT_CHANGES_UNKNOWN", why)));
                                }
                            };
                            if !delta.same_table {
                                let why = format!("'{}' is another table than before", leaf.name);
                                return Ok(Err(Why::new("INPUT_CREATED_ANEW", why)));
                            }
                            if !delta.same_columns {
                                let why = format!("the columns of '{}' changed", leaf.name);
                                return Ok(Err(Why::new("INPUT_SCHEMA_CHANGED", why)));
                            }
                            let (came, went) = (delta.amount_came(), delta.amount_went());
                            found.bytes_changed += came.bytes + went.bytes;
                            found.bytes_all += delta.to().bytes();
                            deltas.insert(leaf.object, Arc::clone(&delta));
                            delta
                        }
                    };
                    if !delta.unchanged {
                        let (came, went) = match (delta.came(), delta.went()) {
                            (Ok(came), Ok(went)) => (came, went),
                            (Err(error), _) | (_, Err(error)) => {
                                let why = format!("'{}': {error}", leaf.name);
                                return Ok(Err(Why::new("INPUT_CHANGES_UNKNOWN", why)));
                            }
                        };
                        versions.changed = Some(Changed {
                            before: delta.from().provider()?,
                            came: (delta.amount_came().files > 0).then_some(came),
                            went: (delta.amount_went().files > 0).then_some(went),
                        });
                    }
                }
            }
            found.versions.push(versions);
        }
        Ok(Ok(found))
    }

    fn of(&self, scan: &TableScan) -> Result<Option<&Versions>, DataFusionError> {
        let provider = source_as_provider(&scan.source)?;
        let is_it = |versions: &&Versions| same(&versions.provider, &provider);
        Ok(self.versions.iter().find(is_it))
    }

    /// Whether a scan reads a table of the query, and one that has changed.
    pub(super) fn is_known(&self, scan: &TableScan) -> Result<bool, DataFusionError> {
        Ok(self.of(scan)?.is_some())
    }

    /// The scan of other rows of the same table; `None` when there are no such rows.
    pub(super) fn scan(
        &self,
        scan: &TableScan,
        of: Of,
    ) -> Result<Option<LogicalPlan>, DataFusionError> {
        let changed = self.of(scan)?.and_then(|versions| versions.changed.as_ref());
        let provider = match (changed, of) {
            (None, Of::Before) => return Ok(Some(LogicalPlan::TableScan(scan.clone()))),
            (None, _) => return Ok(None),
            (Some(changed), Of::Before) => Some(&changed.before),
            (Some(changed), Of::Came) => changed.came.as_ref(),
            (Some(changed), Of::Went) => changed.went.as_ref(),
        };
        let Some(provider) = provider else { return Ok(None) };
        let mut scan = scan.clone();
        scan.source = Arc::new(DefaultTableSource::new(Arc::clone(provider)));
        // What the table of now was asked for, another one need not know how to answer.
        scan.statistics_requests.clear();
        Ok(Some(LogicalPlan::TableScan(scan)))
    }

    /// The plan over the tables as they were.
    pub(super) fn before(&self, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let moved = plan.transform_up(|node| match &node {
            LogicalPlan::TableScan(scan) => match self.scan(scan, Of::Before)? {
                Some(before) => Ok(Transformed::yes(before)),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(moved.data)
    }

    /// Whether rows went from any table.
    pub(super) fn any_went(&self) -> bool {
        let went =
            |versions: &Versions| versions.changed.as_ref().is_some_and(|c| c.went.is_some());
        self.versions.iter().any(went)
    }
}

fn same(a: &Arc<dyn TableProvider>, b: &Arc<dyn TableProvider>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}
