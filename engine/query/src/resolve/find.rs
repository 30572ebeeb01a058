//! Which objects a statement reads, through which views and policies, and whether it may.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use dialect::statement::{FilesUse, Query, StreamRead, TableUse, TimeTravel};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody},
    rights::{Columns, Privilege, Rights},
};

use super::{Purpose, Reads, Wanted, guard, parse_stored};
use crate::{
    authorize::{denied, may_read_all, not_granted},
    command::quarantine::none_of,
    error::QueryError,
    expect::has_quarantine,
    queries::Inner,
    read_files, system,
};

const VIEW_DEPTH_MAX: usize = 32;

/// One table or version of a table that the statement reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObjectUse {
    pub(super) name: ObjectName,
    pub(super) planned_name: String,
    pub(super) at: Option<TimeTravel>,
}

impl ObjectUse {
    pub(super) fn reads_changes(&self) -> bool {
        matches!(self.at, Some(TimeTravel::Changes { .. }))
    }

    pub(super) fn reads_quarantine(&self) -> bool {
        matches!(self.at, Some(TimeTravel::Quarantine))
    }

    pub(super) fn stream(&self) -> Option<&StreamRead> {
        match &self.at {
            Some(TimeTravel::Stream(stream)) => Some(stream),
            _ => None,
        }
    }
}

/// The name under which the target of a statement itself is planned; no text can say it. Whether the
/// statement may change the target was found out before.
pub(crate) fn target_name(name: &ObjectName) -> String {
    format!("{}@target", name.name())
}

/// A query that somebody wrote to be read by others.
pub(super) struct StoredQuery {
    /// The view, or the object that the policy is about.
    pub(super) of: ObjectName,
    pub(super) query: Query,
    pub(super) kind: StoredKind,
}

impl StoredQuery {
    /// An error of the query, with whose query it is.
    pub(super) fn blame(&self, error: QueryError) -> QueryError {
        QueryError::View { name: self.of.clone(), source: Box::new(error) }
    }
}

/// What a stored query stands for.
pub(super) enum StoredKind {
    View {
        definition: String,
    },
    /// A materialized view that was never refreshed.
    Transform {
        /// The STREAM of it that is asked for.
        stream: Option<StreamRead>,
    },
    /// Those columns of an object that may be read.
    Columns,
    /// The rows of an object as its policy shows them.
    Policy,
}

/// A text of the statement with its own names and rights.
pub(super) struct Scope {
    /// None for the statement itself.
    pub(super) query: Option<StoredQuery>,
    pub(super) rights: Arc<Rights>,
    pub(super) relations: Vec<Relation>,
    pub(super) files: Vec<FilesUse>,
    pub(super) system: BTreeSet<ObjectName>,
    pub(super) information_schema: bool,
    tables: Vec<TableUse>,
}

impl Scope {
    fn new(query: Option<StoredQuery>, rights: Arc<Rights>, reads: Reads<'_>) -> Self {
        let (tables, files) = (reads.tables.to_vec(), reads.files.to_vec());
        let (relations, system, information_schema) = (Vec::new(), BTreeSet::new(), false);
        Self { query, rights, relations, files, system, information_schema, tables }
    }

    /// An error in it, with whose text it is.
    pub(super) fn blame(&self, error: QueryError) -> QueryError {
        match &self.query {
            Some(query) => query.blame(error),
            None => error,
        }
    }
}

/// What a name in a scope stands for.
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) planned_name: String,
    pub(super) source: Source,
}

pub(super) enum Source {
    Table(ObjectUse),
    /// The number of a scope.
    Stored(usize),
}

/// Why somebody may not see a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// It reads this object, of which its reader, or somebody whose view it is, sees a part only.
    Part(ObjectName),
    /// A view reads what they may not; its name is not for them either.
    Other,
}

/// What a statement reads. The first scope is the statement itself.
pub(super) struct Found {
    pub(super) objects: HashMap<ObjectName, Object>,
    pub(super) uses: HashSet<ObjectUse>,
    pub(super) scopes: Vec<Scope>,
}

impl Found {
    /// An object of which somebody sees a part only.
    pub(super) fn guarded(&self) -> Option<&ObjectName> {
        let mut queries = self.scopes.iter().filter_map(|scope| scope.query.as_ref());
        let guard = |query: &&StoredQuery| matches!(query.kind, StoredKind::Policy);
        queries.find(guard).map(|query| &query.of)
    }

    /// Why a plan of what was found is not for somebody with these rights: it tells of files, of
    /// conditions and of how many rows there are.
    pub(super) fn hidden_from(&self, rights: &Rights) -> Option<Hidden> {
        let seen = |name: &ObjectName| self.objects.get(name).is_some_and(|o| rights.sees(o));
        if let Some(guarded) = self.guarded() {
            let known = seen(guarded).then(|| guarded.clone());
            return Some(known.map_or(Hidden::Other, Hidden::Part));
        }
        let mut scopes = self.scopes.iter().filter(|scope| match &scope.query {
            None => true,
            // What stands for granted columns reads those alone; the others open no table.
            Some(query) => matches!(query.kind, StoredKind::View { .. }),
        });
        let hides = |scope: &Scope| {
            scope.relations.iter().any(|relation| {
                let object = self.name_of(&relation.source).and_then(|name| self.objects.get(name));
                object.is_some_and(|object| !sees_as_much(rights, object, &scope.rights))
            })
        };
        scopes.any(hides).then_some(Hidden::Other)
    }

    fn name_of<'a>(&'a self, source: &'a Source) -> Option<&'a ObjectName> {
        match source {
            Source::Table(used) => Some(&used.name),
            Source::Stored(number) => {
                self.scopes.get(*number)?.query.as_ref().map(|query| &query.of)
            }
        }
    }

    /// Numbers of scopes such that each comes after those that it reads.
    pub(super) fn inner_first(&self) -> Result<Vec<usize>, QueryError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        fn visit(
            number: usize,
            found: &Found,
            marks: &mut [Mark],
            order: &mut Vec<usize>,
        ) -> Result<(), QueryError> {
            match marks[number] {
                Mark::Done => return Ok(()),
                // Views cannot be created in a circle.
                Mark::Open => return Err(QueryError::ViewDepth(VIEW_DEPTH_MAX)),
                Mark::New => marks[number] = Mark::Open,
            }
            for relation in &found.scopes[number].relations {
                if let Source::Stored(inner) = relation.source {
                    visit(inner, found, marks, order)?;
                }
            }
            marks[number] = Mark::Done;
            order.push(number);
            Ok(())
        }
        let mut order = Vec::with_capacity(self.scopes.len());
        visit(0, self, &mut vec![Mark::New; self.scopes.len()], &mut order)?;
        Ok(order)
    }
}

/// A stored query at a version is planned once, whoever names it.
type StoredKey = (ObjectName, String, Option<TimeTravel>);

struct Find<'a> {
    queries: &'a Inner,
    wanted: &'a Wanted<'a>,
    found: Found,
    stored: HashMap<StoredKey, usize>,
    rights: HashMap<String, Arc<Rights>>,
}

pub(super) async fn find(
    queries: &Inner,
    reads: Reads<'_>,
    wanted: &Wanted<'_>,
) -> Result<Found, QueryError> {
    let statement = Scope::new(None, Arc::clone(&wanted.rights), reads);
    let (objects, uses) = (HashMap::new(), HashSet::new());
    let found = Found { objects, uses, scopes: vec![statement] };
    let (stored, rights) = (HashMap::new(), HashMap::new());
    let mut find = Find { queries, wanted, found, stored, rights };
    let mut level = 0..1;
    for _ in 0..VIEW_DEPTH_MAX {
        find.look_up(level.clone()).await?;
        let known = find.found.scopes.len();
        for number in level {
            let looked = find.scope(number).await;
            looked.map_err(|error| find.found.scopes[number].blame(error))?;
        }
        level = known..find.found.scopes.len();
        if level.is_empty() {
            return Ok(find.found);
        }
    }
    Err(QueryError::ViewDepth(VIEW_DEPTH_MAX))
}

impl Find<'_> {
    /// Reads the objects that these scopes name, all together.
    async fn look_up(&mut self, scopes: std::ops::Range<usize>) -> Result<(), QueryError> {
        let mut wanted = BTreeSet::new();
        for scope in &self.found.scopes[scopes] {
            for used in &scope.tables {
                let named = ObjectName::from_parts(&used.name, self.wanted.default_schema);
                let name = named.map_err(|error| scope.blame(error.into()))?;
                if !is_the_servers(&name) && !self.found.objects.contains_key(&name) {
                    wanted.insert(name);
                }
            }
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        for object in self.queries.look_up(self.wanted.known, &wanted).await? {
            self.found.objects.insert(object.name.clone(), object);
        }
        Ok(())
    }

    /// Finds out what the names of a scope stand for.
    async fn scope(&mut self, number: usize) -> Result<(), QueryError> {
        let scope = &mut self.found.scopes[number];
        let (tables, rights) = (std::mem::take(&mut scope.tables), Arc::clone(&scope.rights));
        if !scope.files.is_empty() {
            read_files::may_read_files(&rights)?;
        }
        for used in tables {
            let name = ObjectName::from_parts(&used.name, self.wanted.default_schema)?;
            let planned_name = used.planned_name.last().cloned().unwrap_or_default();
            let used = ObjectUse { name, planned_name, at: used.at };
            let scope = &mut self.found.scopes[number];
            if is_the_servers(&used.name) {
                super::open::refuse_time_travel(&used, "a system table")?;
                match system::is_system(&used.name) {
                    true => _ = scope.system.insert(used.name),
                    false => scope.information_schema = true,
                }
                continue;
            }
            let (schema, planned_name) = (used.name.schema().to_owned(), used.planned_name.clone());
            let is_it = |r: &Relation| r.schema == schema && r.planned_name == planned_name;
            if scope.relations.iter().any(is_it) {
                continue;
            }
            let source = self.source(used, &rights).await?;
            let relation = Relation { schema, planned_name, source };
            self.found.scopes[number].relations.push(relation);
        }
        Ok(())
    }

    async fn source(
        &mut self,
        used: ObjectUse,
        rights: &Arc<Rights>,
    ) -> Result<Source, QueryError> {
        let Some(object) = self.found.objects.get(&used.name).cloned() else {
            return Err(self.queries.not_found(rights, used.name).await);
        };
        if used.planned_name == target_name(&object.name) && object.location().is_some() {
            self.found.uses.insert(used.clone());
            return Ok(Source::Table(used));
        }
        if rights.columns(&object).is_none() {
            return Err(match rights.sees(&object) {
                true => not_granted(rights, Privilege::Select, &object.name.to_sql()),
                false => self.queries.not_found(rights, used.name).await,
            });
        }
        if used.reads_quarantine() {
            may_read_quarantine(rights, &object)?;
            self.found.uses.insert(used.clone());
            return Ok(Source::Table(used));
        }
        if let Some(guard) = guard::of(&object, rights, used.at.as_ref())? {
            let mut query = guard.query;
            for table in &mut query.tables {
                if ObjectName::from_parts(&table.name, object.name.schema())? == object.name {
                    table.at.clone_from(&used.at);
                }
            }
            let stored = StoredQuery { of: object.name.clone(), query, kind: guard.kind };
            return self.stored(&object, stored, guard.text, used.at).await;
        }
        let (query, kind) = match &object.body {
            ObjectBody::View(view) => {
                (&view.query, StoredKind::View { definition: view.definition.clone() })
            }
            ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)
                if self.wanted.purpose == Purpose::Describe
                    && !self.queries.options.lake.exists(&view.location).await? =>
            {
                let stream = used.stream().cloned();
                let flow = view.flows.first().map(|flow| &flow.query);
                match (&object.body, flow) {
                    (ObjectBody::MaterializedView(_), _) => {
                        (&view.query, StoredKind::Transform { stream })
                    }
                    (_, Some(_)) if !view.query.is_empty() => {
                        (&view.query, StoredKind::Transform { stream })
                    }
                    (_, Some(query)) => (query, StoredKind::Transform { stream }),
                    (_, None) => return Err(QueryError::NotRefreshed(object.name.clone())),
                }
            }
            ObjectBody::Table(_)
            | ObjectBody::MaterializedView(_)
            | ObjectBody::StreamingTable(_) => {
                self.found.uses.insert(used.clone());
                return Ok(Source::Table(used));
            }
        };
        if !matches!(kind, StoredKind::Transform { stream: Some(_) }) {
            super::open::refuse_time_travel(&used, "a view")?;
        }
        let (of, text) = (object.name.clone(), query.clone());
        let query = match &object.body {
            ObjectBody::StreamingTable(view) => {
                let mut query = dialect::parse_flow_query(query)?;
                let found = view.flows.first().and_then(|flow| flow.files.as_ref());
                read_files::settle(&mut query, found);
                query
            }
            _ => parse_stored(query)?,
        };
        let stored = StoredQuery { of, query, kind };
        self.stored(&object, stored, text, used.at.filter(|at| matches!(at, TimeTravel::Stream(_))))
            .await
    }

    /// The scope of a stored query, which is read with the rights of the object's owner.
    async fn stored(
        &mut self,
        object: &Object,
        stored: StoredQuery,
        text: String,
        at: Option<TimeTravel>,
    ) -> Result<Source, QueryError> {
        let key = (object.name.clone(), text, at);
        if let Some(number) = self.stored.get(&key) {
            return Ok(Source::Stored(*number));
        }
        let rights = match self.rights.get(&object.owner) {
            Some(rights) => Arc::clone(rights),
            None => {
                let rights = self.queries.rights_of(&object.owner).await;
                let rights = rights.map_err(|error| stored.blame(error))?;
                self.rights.insert(object.owner.clone(), Arc::clone(&rights));
                rights
            }
        };
        let number = self.found.scopes.len();
        let (tables, files) = (stored.query.tables.clone(), stored.query.files.clone());
        let reads = Reads { tables: &tables, files: &files };
        self.found.scopes.push(Scope::new(Some(stored), rights, reads));
        self.stored.insert(key, number);
        Ok(Source::Stored(number))
    }
}

/// Whether somebody may read all of an object, or at least what the author of a text that reads it may.
fn sees_as_much(rights: &Rights, object: &Object, author: &Rights) -> bool {
    if may_read_all(rights, object).is_ok() {
        return true;
    }
    match (rights.columns(object), author.columns(object)) {
        (Some(Columns::Some(own)), Some(Columns::Some(read))) => {
            object.policy.is_empty() && read.is_subset(&own)
        }
        _ => false,
    }
}

/// Rows in quarantine are as they came: no policy hides any of them, nor any of their columns.
fn may_read_quarantine(rights: &Rights, object: &Object) -> Result<(), QueryError> {
    let transform = object.transform();
    if !transform.is_some_and(|view| has_quarantine(&view.expectations)) {
        return Err(none_of(object));
    }
    if rights.owns(object) {
        return Ok(());
    }
    if !object.policy.is_empty() {
        let what = format!("read the quarantine of '{}', which has a policy", object.name);
        return Err(denied(rights, &what, "its owner and admins may"));
    }
    match rights.columns(object) {
        Some(Columns::All) => Ok(()),
        _ => Err(not_granted(rights, Privilege::Select, &object.name.to_sql())),
    }
}

/// Whether the server itself provides it.
fn is_the_servers(name: &ObjectName) -> bool {
    name.schema() == "information_schema" || system::is_system(name)
}
