//! On whose behalf a statement runs, and with which defaults.

use std::sync::Arc;

use model::{id::QueryId, name::DEFAULT_SCHEMA, principal::Principal};

use crate::{ingest::Incoming, postgres::PostgresClient, recipe::Recipe, transaction::Transaction};

/// The relation that a statement reads rows from which come with it.
pub(crate) const INCOMING_ROWS: &str = "incoming_rows";

/// Caller and defaults of a statement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    principal: Principal,
    schema: String,
    client: Option<Arc<str>>,
    source_file: Option<String>,
    deferred_refresh: bool,
    rows: Option<Incoming>,
    query_id: Option<QueryId>,
    transaction: Option<Arc<Transaction>>,
    recipe: Option<Arc<Recipe>>,
    postgres: Option<Arc<PostgresClient>>,
}

impl Session {
    /// A session with the default schema.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        Self {
            principal,
            schema: DEFAULT_SCHEMA.to_owned(),
            client: None,
            source_file: None,
            deferred_refresh: false,
            rows: None,
            query_id: None,
            transaction: None,
            recipe: None,
            postgres: None,
        }
    }

    /// Names without a schema are looked up in `schema`.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Where the caller is, for the audit trail: the protocol and the address.
    #[must_use]
    pub fn with_client(mut self, client: Option<Arc<str>>) -> Self {
        self.client = client;
        self
    }

    /// Transforms that this session creates are declared by a file of a folder.
    #[must_use]
    pub fn with_source_file(mut self, path: Option<String>) -> Self {
        self.source_file = path;
        self
    }

    /// Transforms that this session creates or changes are not queued for a refresh: the caller
    /// queues them together, see [`crate::queries::Queries::submit_graph`].
    #[must_use]
    pub fn with_deferred_refresh(mut self) -> Self {
        self.deferred_refresh = true;
        self
    }

    /// Queries of this session find what Postgres clients expect to find, see [`crate::postgres`].
    #[must_use]
    pub fn for_postgres(mut self, client: Arc<PostgresClient>) -> Self {
        self.postgres = Some(client);
        self
    }

    /// The one statement of this session has this id in `system.queries`.
    #[must_use]
    pub fn with_query_id(mut self, id: QueryId) -> Self {
        self.query_id = Some(id);
        self
    }

    /// The statements of this session belong to a transaction of its principal.
    #[must_use]
    pub fn with_transaction(mut self, transaction: Arc<Transaction>) -> Self {
        self.transaction = Some(transaction);
        self
    }

    /// The transaction that the statements belong to.
    pub(crate) fn transaction(&self) -> Option<&Arc<Transaction>> {
        self.transaction.as_ref()
    }

    /// The one statement of this session is planned as another server has planned it.
    pub(crate) fn with_recipe(mut self, recipe: Arc<Recipe>) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// By what the statement is planned again.
    pub(crate) fn recipe(&self) -> Option<&Arc<Recipe>> {
        self.recipe.as_ref()
    }

    /// The id of the next statement.
    pub(crate) fn query_id(&self) -> QueryId {
        self.query_id.unwrap_or_else(QueryId::generate)
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Schema of names that say none.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn client(&self) -> Option<&Arc<str>> {
        self.client.as_ref()
    }

    /// Rows come with the one statement of this session, as the relation [`INCOMING_ROWS`].
    pub(crate) fn with_rows(mut self, rows: Incoming) -> Self {
        self.rows = Some(rows);
        self
    }

    /// The rows that come with the statement.
    pub(crate) fn rows(&self) -> Option<&Incoming> {
        self.rows.as_ref()
    }

    /// The Postgres client that asks, if one does.
    pub(crate) fn postgres(&self) -> Option<&Arc<PostgresClient>> {
        self.postgres.as_ref()
    }

    /// The same session for a statement that is no query: what takes effect means the same for
    /// everybody.
    pub(crate) fn without_postgres(mut self) -> Self {
        self.postgres = None;
        self
    }

    pub(crate) fn source_file(&self) -> Option<&str> {
        self.source_file.as_deref()
    }

    pub(crate) fn defers_refresh(&self) -> bool {
        self.deferred_refresh
    }
}
