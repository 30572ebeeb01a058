//! What one statement may ask about tables, schemas and the session: read once, before it is planned.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use model::{
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::is_reserved,
    rights::{ADMIN, Rights},
};

use super::{PostgresClient, privileges::Allowed, tables};
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
    pub(super) comment: Option<String>,
}

/// A user or a role that the user may know of.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) oid: i64,
    pub(super) name: String,
    pub(super) is_admin: bool,
    pub(super) can_login: bool,
}

/// A CHECK constraint.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) oid: i64,
    pub(super) name: String,
    pub(super) condition: String,
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
    pub(super) owner: String,
    pub(super) allowed: Allowed,
    pub(super) columns: Option<SchemaRef>,
    /// The columns as they are stored, for who may read all of them.
    stored: Option<SchemaRef>,
    /// Of each column, where there are some.
    comments: Vec<Option<String>>,
    pub(super) checks: Vec<Check>,
    pub(super) primary_key: Vec<String>,
    pub(super) comment: Option<String>,
    pub(super) definition: Option<String>,
}

impl Relation {
    /// Number of its primary key, as an index and as a constraint.
    pub(super) fn key_oid(&self) -> i64 {
        oid(&format!("primary key of {}", self.oid))
    }

    /// The name of a column; no text where there is none.
    pub(super) fn column_name(&self, at: usize) -> &str {
        let field = self.columns.as_ref().and_then(|columns| columns.fields().get(at));
        field.map_or("", |field| field.name())
    }

    pub(super) fn column_comment(&self, at: usize) -> Option<&str> {
        self.comments.get(at)?.as_deref()
    }

    /// Each column with a comment, by its number.
    pub(super) fn column_comments(&self) -> impl Iterator<Item = (i64, &str)> {
        let numbered = (1..).zip(&self.comments);
        numbered.filter_map(|(number, comment)| Some((number, comment.as_deref()?)))
    }

    /// Whether NULL is refused in a column, or declared not to be there.
    pub(super) fn is_required(&self, at: usize) -> bool {
        let stored = self.stored.as_ref().and_then(|stored| stored.fields().get(at));
        stored.is_some_and(|field| !field.is_nullable())
            || self.primary_key.iter().any(|name| name == self.column_name(at))
    }

    /// The expression of a generated column.
    pub(super) fn generated(&self, at: usize) -> Option<&str> {
        let field = self.stored.as_ref()?.fields().get(at)?;
        field.metadata().get(lake::GENERATED).map(String::as_str)
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
    pub(super) roles: Vec<Role>,
    pub(super) rights: Arc<Rights>,
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
        let user = session.principal().name();
        let mut known = Self {
            user: user.to_owned(),
            roles: Vec::new(),
            rights: Arc::new(Rights::new(user, BTreeSet::new(), Vec::new())),
            schema: session.schema().to_owned(),
            client: Arc::clone(client),
            namespaces: Vec::new(),
            relations: Vec::new(),
            by_oid: HashMap::new(),
        };
        if wanted.is_empty() {
            return Ok(Arc::new(known));
        }
        known.rights = inner.rights(session.principal()).await?;
        let schemas = inner.options.catalog.schemas().await?.into_iter();
        let mut named: Vec<_> = schemas.map(|schema| (schema.name, schema.comment)).collect();
        let own = ["system", "information_schema", "pg_catalog"];
        named.extend(own.map(|name| (name.to_owned(), None)));
        named.dedup_by(|a, b| a.0 == b.0);
        let namespace =
            |(name, comment): (String, _)| Namespace { oid: namespace_oid(&name), name, comment };
        known.namespaces = named.into_iter().map(namespace).collect();
        const OF_COLUMNS: [&str; 12] = [
            "pg_attribute",
            "pg_constraint",
            "pg_index",
            "pg_description",
            "key_column_usage",
            "pg_class",
            "columns",
            "column_privileges",
            "check_constraints",
            "constraint_column_usage",
            "table_constraints",
            "pg_tables",
        ];
        let with_columns = wanted.iter().any(|name| OF_COLUMNS.contains(name));
        let filter = TableFilter { schema: None, name: None, types: None, with_columns };
        let tables = Queries::tables_of(inner, session, &filter).await?;
        let objects = inner.options.catalog.objects().await?;
        let objects: HashMap<ObjectName, Object> =
            objects.into_iter().map(|object| (object.name.clone(), object)).collect();
        let shows =
            |object: &&Object| sees_definition(&known.rights, object, |name| objects.get(name));
        for table in tables {
            let TableInfo { name, table_type, columns, stored, checks, primary_key, comment } =
                table;
            let object = objects.get(&name);
            let number = oid(&format!("{}.{}", name.schema(), name.name()));
            let fields = stored.iter().flat_map(|stored| stored.fields());
            let comments = fields.map(|field| {
                let of_column = object.and_then(|object| declared_comment(object, field.name()));
                of_column.or_else(|| field.metadata().get("comment").cloned())
            });
            let checks = checks.into_iter().map(|(name, condition)| {
                let oid = oid(&format!("check {name} of {number}"));
                Check { oid, name, condition }
            });
            known.relations.push(Relation {
                oid: number,
                namespace: namespace_oid(name.schema()),
                owner: object.map_or(ADMIN, |object| object.owner.as_str()).to_owned(),
                allowed: match object {
                    Some(object) => Allowed::of(&known.rights, object),
                    None => Allowed::to_read(),
                },
                comments: comments.collect(),
                checks: checks.collect(),
                stored,
                kind: match table_type {
                    "VIEW" => "v",
                    "MATERIALIZED VIEW" => "m",
                    "SYSTEM TABLE" => "v",
                    _ => "r",
                },
                columns,
                primary_key,
                comment,
                definition: object.filter(|object| shows(object)).and_then(definition),
                schema: name.schema().to_owned(),
                name: name.name().to_owned(),
            });
        }
        known.by_oid =
            known.relations.iter().enumerate().map(|(n, relation)| (relation.oid, n)).collect();
        known.roles = known.roles(inner).await?;
        Ok(Arc::new(known))
    }

    /// The user, the roles that it is a member of, and who owns what it sees; an admin knows all.
    async fn roles(&self, inner: &Inner) -> Result<Vec<Role>, QueryError> {
        let catalog = &inner.options.catalog;
        let (users, roles) = (catalog.users().await?, catalog.roles().await?);
        let members = catalog.members().await?;
        let is_known = |name: &&String| self.rights.is_admin() || self.rights.is_member(name);
        let mut names: BTreeSet<String> = roles.iter().filter(is_known).cloned().collect();
        names.extend(users.iter().filter(|_| self.rights.is_admin()).cloned());
        names.extend(self.relations.iter().map(|relation| relation.owner.clone()));
        names.extend([self.user.clone(), ADMIN.to_owned()]);
        names.remove(model::rights::PUBLIC);
        let role = |name: String| Role {
            oid: role_oid(&name),
            is_admin: match name == self.user {
                true => self.rights.is_admin(),
                false => {
                    name == ADMIN
                        || members.iter().any(|one| one.role == ADMIN && one.member == name)
                }
            },
            can_login: name == self.user || users.contains(&name) || is_reserved(&name),
            name,
        };
        Ok(names.into_iter().map(role).collect())
    }

    pub(super) fn role(&self, oid: i64) -> Option<&Role> {
        self.roles.iter().find(|role| role.oid == oid)
    }

    pub(super) fn user_oid(&self) -> i64 {
        role_oid(&self.user)
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

fn declared_comment(object: &Object, column: &str) -> Option<String> {
    let columns = &object.transform()?.columns;
    columns.iter().find(|declared| declared.name == column)?.comment.clone()
}

fn definition(object: &Object) -> Option<String> {
    match &object.body {
        ObjectBody::View(view) => Some(view.query.clone()),
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
            Some(view.query.clone())
        }
        ObjectBody::Table(_) => None,
    }
}

/// Parts of a name as SQL writes it.
pub(super) fn parts(text: &str) -> Vec<String> {
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

/// That of a user or role. What belongs to the server belongs to the role of its admins.
pub(super) fn role_oid(name: &str) -> i64 {
    match name {
        ADMIN => tables::OWNER,
        name => oid(&format!("role {name}")),
    }
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
