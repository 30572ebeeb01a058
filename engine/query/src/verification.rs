//! VERIFY without anybody who asks: what the auditor calls.
//!
//! It exists because an alarm that nobody asked for must not be a false one: it says nothing where
//! VERIFY would compare what cannot be compared just now. It never shows a row.

use datafusion::{common::tree_node::TreeNodeRecursion, logical_expr::LogicalPlan};
use lake::{At, LakeError};
use model::{object::Object, principal::Principal, transform::Transform};

use crate::{
    command::verify::{Stands, other_files, stands},
    definition,
    error::QueryError,
    incremental::app_id,
    queries::{Inner, Queries},
};

/// What a transform has, and what its query gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The version of its table.
    pub version: i64,
    /// Rows that are stored.
    pub rows: u64,
    /// Rows that the query gives over what the last run has read.
    pub rows_computed: u64,
    /// Whether they are the same ones, up to the last digits of floating point numbers.
    pub is_equal: bool,
}

impl Queries {
    /// Compares a transform with its query as VERIFY does, with its owner's rights. Nothing is said of a
    /// streaming table that only appends, nor of a transform that was never refreshed, is being refreshed, was defined anew since, or whose query
    /// may answer differently each time.
    pub async fn compare(&self, object: &Object) -> Result<Option<Comparison>, QueryError> {
        let inner = &self.inner;
        let Some(view) = object.computed() else { return Ok(None) };
        let catalog = inner.options.catalog.as_ref();
        let Some(last) = catalog.last_refresh(object.id).await? else { return Ok(None) };
        if last.definition_hash != definition::hash(catalog, catalog, &object.owner, view).await? {
            return Ok(None);
        }
        let table = match inner.options.lake.snapshot(&view.location, At::Latest).await {
            Err(LakeError::NotFound { .. }) => return Ok(None),
            table => table?,
        };
        let Stands { run, inputs, .. } = match stands(inner, object, &table).await {
            // Of parts that the catalog does not know nothing can be said either.
            Err(QueryError::NotRefreshed(_) | QueryError::Invalid(_)) => return Ok(None),
            found => found?,
        };
        // Plain files that are others now cannot be read as they were.
        if other_files(inner, &inputs).await?.is_some() {
            return Ok(None);
        }
        let owner = Principal::verified(&object.owner);
        let (_, logical) = inner.resolve_transform(&owner, view, &inputs, None).await?;
        if may_differ(&logical)? || !is_of(inner, object, view, run.run_seq).await? {
            return Ok(None);
        }
        let verified = inner.verified(object, view, None).await?;
        let is_equal = verified.differing.is_none();
        // A run that has committed meanwhile is another reason to differ.
        if !is_equal && !is_of(inner, object, view, run.run_seq).await? {
            return Ok(None);
        }
        Ok(Some(Comparison {
            version: verified.version,
            rows: verified.stored.rows(),
            rows_computed: verified.computed.rows(),
            is_equal,
        }))
    }
}

/// Whether a run is the last one that the log of the table knows.
async fn is_of(
    inner: &Inner,
    object: &Object,
    view: &Transform,
    run_seq: i64,
) -> Result<bool, QueryError> {
    let committed = inner.options.lake.txn_version(&view.location, &app_id(object.id)).await?;
    Ok(committed == Some(run_seq))
}

/// Whether a query may answer differently for the same inputs.
fn may_differ(logical: &LogicalPlan) -> Result<bool, QueryError> {
    let mut limits = false;
    logical.apply_with_subqueries(|node| {
        limits |= match node {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(limits || crate::incremental::answers_differently(logical)?)
}
