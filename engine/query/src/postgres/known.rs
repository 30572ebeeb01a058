//! What one statement may ask about tables, schemas and the session: read once, before it is planned.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use model::object::ObjectBody;

use super::PostgresClient;
use crate::{
    authorize::sees_definition,
    describe::{TableFilter, TableInfo},
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// The first number that Postgres gives to what users make.
const FIRST_OF_USERS: u32 = 16_384;

/// A schema.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) oid: i64,
    pub(super) name: String,
}

/// A table or view.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) namespace: i64,
    pub(super) schema: String,
    pub(super) name: String,
    /// As `pg_class.relkind` says it.
    pub(super) kind: &'static str,
    pub(super) columns: Option<SchemaRef>,
    pub(super) primary_key: Vec<String>,
    pub(super) comment: Option<String>,
    pub(super) definition: Option<String>,
}

impl Relation {
    /// Number of its primary key, as an index and as a constraint.
    pub(super) fn key_oid(&self) -> i64 {
        oid(&format!("primary key of {}", self.oid))
    }

    pub(super) fn key_name(&self) -> String {
        format!("{}_pkey", self.name)
    }

    /// Numbers of the columns of its primary key.
    pub(super) fn key_columns(&self) -> Vec<usize> {
        let Some(columns) = &self.columns else { return Vec::new() };
        let number = |name: &String| columns.index_of(name).ok().map(|at| at + 1);
        self.primary_key.iter().filter_map(number).collect()
    }
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) user: String,
    pub(super) schema: String,
    pub(super) client: Arc<PostgresClient>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) relations: Vec<Relation>,
    by_oid: HashMap<i64, usize>,
}

impl Known {
    /// Nothing is read for a query that names no table of the catalog.
    pub(super) async fn load(
        inner: &Inner,
        session: &Session,
        client: &Arc<PostgresClient>,
        wanted: &[&str],
    ) -> Result<Arc<Self>, QueryError> {
        let mut known = Self {
            user: session.principal().name().to_owned(),
            schema: session.schema().to_owned(),
            client: Arc::clone(client),
            namespaces: Vec::new(),
            relations: Vec::new(),
            by_oid: HashMap::new(),
        };
        if wanted.is_empty() {
            return Ok(Arc::new(known));
        }
        let mut names: Vec<String> =
            inner.options.catalog.schemas().await?.into_iter().map(|schema| schema.name).collect();
        names.extend(["system", "information_schema", "pg_catalog"].map(str::to_owned));
        names.dedup();
        known.namespaces =
            names.into_iter().map(|name| Namespace { oid: namespace_oid(&name), name }).collect();
        const OF_COLUMNS: [&str; 6] = [
            "pg_attribute",
            "pg_constraint",
            "pg_index",
            "pg_description",
            "key_column_usage",
            "pg_class",
        ];
        let with_columns = wanted.iter().any(|name| OF_COLUMNS.contains(name));
        let filter = TableFilter { schema: None, name: None, types: None, with_columns };
        let tables = Queries::tables_of(inner, session, &filter).await?;
        let objects = inner.options.catalog.objects().await?;
        let rights = inner.rights(session.principal()).await?;
        let by_name: HashMap<_, _> = objects.iter().map(|object| (&object.name, object)).collect();
        let definitions: HashMap<_, _> = objects
            .iter()
            .filter(|object| sees_definition(&rights, object, |name| by_name.get(name).copied()))
            .filter_map(|object| match &object.body {
                ObjectBody::View(view) => Some((&object.name, &view.query)),
                ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
                    Some((&object.name, &view.query))
                }
                ObjectBody::Table(_) => None,
            })
            .collect();
        for table in tables {
            let TableInfo { name, table_type, columns, primary_key, comment } = table;
            known.relations.push(Relation {
                oid: oid(&format!("{}.{}", name.schema(), name.name())),
                namespace: namespace_oid(name.schema()),
                kind: match table_type {
                    "VIEW" => "v",
                    "MATERIALIZED VIEW" => "m",
                    "SYSTEM TABLE" => "v",
                    _ => "r",
                },
                columns,
                primary_key,
                comment,
                definition: definitions.get(&name).map(|query| (*query).clone()),
                schema: name.schema().to_owned(),
                name: name.name().to_owned(),
            });
        }
        known.by_oid =
            known.relations.iter().enumerate().map(|(n, relation)| (relation.oid, n)).collect();
        Ok(Arc::new(known))
    }

    pub(super) fn relation(&self, oid: i64) -> Option<&Relation> {
        self.by_oid.get(&oid).map(|at| &self.relations[*at])
    }

    /// By a name as SQL writes it: `t`, `s.t`, `"T"`.
    pub(super) fn named(&self, text: &str) -> Option<&Relation> {
        let mut parts = parts(text);
        let name = parts.pop()?;
        let schema = parts.pop();
        let schema = schema.as_ref().unwrap_or(&self.schema);
        self.relations.iter().find(|relation| relation.schema == *schema && relation.name == name)
    }

    pub(super) fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.name == name)
    }

    /// The name of a relation as a query of this session would write it.
    pub(super) fn shown(&self, relation: &Relation) -> String {
        let name = model::name::quote(&relation.name);
        if relation.schema == self.schema {
            return name;
        }
        format!("{}.{name}", model::name::quote(&relation.schema))
    }

    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let settings = self.client.settings.iter();
        let mut found = settings.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Parts of a name as SQL writes it.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// A number for a name, the same for as long as it has that name: clients keep it from one statement
/// to the next.
pub(super) fn oid(name: &str) -> i64 {
    // FNV-1a: numbers need to differ, not to be secret.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from((hash & 0x7fff_ffff).max(FIRST_OF_USERS))
}

/// That of a schema; some clients know the first one.
pub(super) fn namespace_oid(name: &str) -> i64 {
    match name {
        "pg_catalog" => 11,
        "main" => 2200,
        "information_schema" => 13_000,
        name => oid(&format!("schema {name}")),
    }
}
