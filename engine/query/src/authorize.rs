//! Whether a caller may do what a statement does, before anything is opened.
//!
//! What a statement reads is checked where its names are resolved (`resolve`), with what views and
//! policies add; what it changes is checked here, by one list. An object on which a caller has no
//! right at all does not exist for that caller.

use std::sync::Arc;

use dialect::statement::{
    Backfill, ChangeAction, ChangeKind, CreateTable, JobStatement, Maintain, NameParts, OldRows,
    Quarantine, RightsStatement, SecurableName, Show, Statement,
};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody, TableFormat},
    principal::{Principal, is_reserved},
    rights::{Columns, Grant, Privilege, Rights, Securable},
};

use crate::{
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// What a statement needs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Need<'s> {
    /// A privilege on an object.
    On(&'s NameParts, Privilege),
    /// To own an object.
    Own(&'s NameParts),
    /// To read every row and column of an object as they are stored.
    All(&'s NameParts),
    /// To know of an object.
    See(&'s NameParts),
    /// To know how an object is defined: what its query reads.
    Definition(&'s NameParts),
    /// To create under a name, or to own what is there.
    Create(&'s NameParts),
    /// To own everything in a schema.
    OwnIn(&'s NameParts),
    /// A privilege on the catalog.
    Everywhere(Privilege),
    /// To be that user; whoever asks without a name.
    Be(Option<&'s str>),
    /// To be an admin.
    Admin,
}

impl Inner {
    /// What a principal may do now.
    pub(crate) async fn rights(&self, principal: &Principal) -> Result<Arc<Rights>, QueryError> {
        let own = self.rights_of(principal.name()).await?;
        if principal.roles().is_empty() || own.is_admin() {
            return Ok(own);
        }
        let catalog = &self.options.catalog;
        // A user's name among them gives nothing: roles are given, other people are not.
        let known = catalog.roles().await?;
        let mut rights = Rights::clone(&own);
        for role in principal.roles().iter().filter(|role| known.contains(role)) {
            if let Some(more) = catalog.rights(role).await? {
                rights = rights.with(more);
            }
        }
        Ok(Arc::new(rights))
    }

    /// As above, for the owner of an object.
    pub(crate) async fn rights_of(&self, name: &str) -> Result<Arc<Rights>, QueryError> {
        if is_reserved(name) {
            return Ok(Arc::new(Rights::everything(name)));
        }
        let rights = self.options.catalog.rights(name).await?;
        rights.map(Arc::new).ok_or_else(|| QueryError::Denied {
            who: name.to_owned(),
            what: "do anything: there is no such user or role any more".to_owned(),
            hint: "an admin can give objects another owner: ALTER … OWNER TO".to_owned(),
        })
    }
}

impl Queries {
    /// Every object that the caller may know of, by schema and name.
    pub async fn objects(&self, session: &Session) -> Result<Vec<Object>, QueryError> {
        let rights = self.inner.rights(session.principal()).await?;
        let mut objects = self.inner.options.catalog.objects().await?;
        objects.retain(|object| rights.sees(object));
        Ok(objects)
    }

    /// [`QueryError::Denied`] unless the caller owns the object.
    pub async fn must_own(&self, session: &Session, object: &Object) -> Result<(), QueryError> {
        let rights = self.inner.rights(session.principal()).await?;
        if rights.owns(object) { Ok(()) } else { Err(not_owned(&rights, object)) }
    }
}

/// Refuses a statement that its caller may not run.
pub(crate) async fn check(
    inner: &Inner,
    session: &Session,
    statement: &Statement,
) -> Result<(), QueryError> {
    let needs = needs(statement);
    if needs.is_empty() || session.principal().is_reserved() {
        return Ok(());
    }
    let rights = inner.rights(session.principal()).await?;
    if rights.is_admin() {
        return Ok(());
    }
    for need in needs {
        meet(inner, session, &rights, need).await?;
    }
    Ok(())
}

async fn meet(
    inner: &Inner,
    session: &Session,
    rights: &Rights,
    need: Need<'_>,
) -> Result<(), QueryError> {
    let parts = match need {
        Need::Admin => {
            return Err(denied(rights, "do that", "only members of the role 'admin' may"));
        }
        Need::Be(user) if user.is_none_or(|user| user == rights.name()) => return Ok(()),
        Need::Be(_) => {
            let hint =
                "everybody may for themselves, and members of the role 'admin' for everybody";
            return Err(denied(rights, "do that for somebody else", hint));
        }
        Need::Everywhere(privilege) if rights.allows_everywhere(privilege) => return Ok(()),
        Need::Everywhere(privilege) => return Err(not_granted(rights, privilege, "CATALOG")),
        Need::OwnIn(schema) => {
            let schema = schema.last().map_or("", String::as_str);
            let all = inner.options.catalog.objects().await?;
            let others = all.iter().find(|o| o.name.schema() == schema && !rights.owns(o));
            return match others {
                None => Ok(()),
                Some(object) => Err(not_owned(rights, object)),
            };
        }
        Need::On(parts, _)
        | Need::Own(parts)
        | Need::All(parts)
        | Need::See(parts)
        | Need::Definition(parts)
        | Need::Create(parts) => parts,
    };
    let name = ObjectName::from_parts(parts, session.schema())?;
    let object = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    if let Need::Create(_) = need {
        return match object {
            Some(object) if rights.owns(&object) => Ok(()),
            Some(object) => Err(not_owned(rights, &object)),
            None if rights.allows_in(Privilege::Create, name.schema()) => Ok(()),
            None => {
                let schema = model::name::quote(name.schema());
                Err(not_granted(rights, Privilege::Create, &format!("SCHEMA {schema}")))
            }
        };
    }
    // What is not there is for the statement to say.
    let Some(object) = object else { return Ok(()) };
    if !rights.sees(&object) {
        return Err(inner.not_found(rights, name).await);
    }
    match need {
        Need::On(_, privilege) if !rights.allows(privilege, &object) => {
            Err(not_granted(rights, privilege, &object.name.to_sql()))
        }
        Need::Own(_) if !rights.owns(&object) => Err(not_owned(rights, &object)),
        Need::All(_) => may_read_all(rights, &object),
        // Of a table that is shown which is known.
        Need::Definition(_) if matches!(object.body, ObjectBody::Table(_)) => Ok(()),
        Need::Definition(_) => {
            let reads = inner.objects_named(object.reads()).await?;
            match sees_definition(rights, &object, |name| reads.iter().find(|o| o.name == *name)) {
                true => Ok(()),
                false => Err(denied(
                    rights,
                    &format!(
                        "see how '{}' is defined: its query reads what it may not",
                        object.name
                    ),
                    "whoever owns it may",
                )),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses when rows or columns of an object are kept from the caller.
pub(crate) fn may_read_all(rights: &Rights, object: &Object) -> Result<(), QueryError> {
    match rights.columns(object) {
        None => Err(not_granted(rights, Privilege::Select, &object.name.to_sql())),
        Some(Columns::All) if rights.owns(object) || object.policy.is_empty() => Ok(()),
        Some(_) => Err(denied(
            rights,
            &format!("do that with '{}': it sees a part of its rows and columns only", object.name),
            "whoever owns the table may",
        )),
    }
}

/// Whether a definition names nothing that is kept from the caller: no column that was not granted,
/// and no table or column that a view reads with the rights of its owner. `known` finds what it reads.
pub(crate) fn sees_definition<'o>(
    rights: &Rights,
    object: &Object,
    known: impl Fn(&ObjectName) -> Option<&'o Object>,
) -> bool {
    if rights.owns(object) {
        return true;
    }
    // Whoever may only write, or only refresh, knows the columns.
    !matches!(rights.columns(object), Some(Columns::Some(_)))
        && object.reads().iter().all(|name| {
            let read = known(name);
            read.is_some_and(|read| rights.columns(read) == Some(Columns::All))
        })
}

fn needs(statement: &Statement) -> Vec<Need<'_>> {
    use Need::{Admin, All, Be, Create, Definition, Everywhere, On, Own, OwnIn, See};
    match statement {
        // What is read is checked where it is resolved.
        Statement::Query(_) | Statement::Substrait { .. } | Statement::Set { .. } => Vec::new(),
        // Whose statement it is, is checked once that is known.
        Statement::CancelQuery { .. } => Vec::new(),
        // Jobs are checked by what they refresh, once that is known.
        Statement::Job(
            JobStatement::Show(_)
            | JobStatement::Describe { .. }
            | JobStatement::Wait { .. }
            | JobStatement::Cancel { .. }
            | JobStatement::Retry { .. }
            | JobStatement::RetryFailed { .. }
            | JobStatement::Approve { .. },
        )
        | Statement::Refresh(_) => Vec::new(),
        Statement::Explain { statement, .. } => needs(statement),
        Statement::Insert(insert) => {
            let mut needs = vec![On(&insert.target, Privilege::Insert)];
            match insert.old_rows {
                OldRows::Stay => {}
                OldRows::Go => needs.push(On(&insert.target, Privilege::Delete)),
                OldRows::GoWhere(_) => {
                    needs.extend([On(&insert.target, Privilege::Delete), All(&insert.target)]);
                }
            }
            needs
        }
        Statement::Change(change) => {
            let mut needs = vec![All(&change.target)];
            let mut add = |privilege| {
                let need = On(&change.target, privilege);
                if !needs.contains(&need) {
                    needs.push(need);
                }
            };
            match change.kind {
                ChangeKind::Delete => add(Privilege::Delete),
                ChangeKind::Update => add(Privilege::Update),
                ChangeKind::Merge => {
                    for clause in &change.clauses {
                        add(match clause.action {
                            ChangeAction::Delete => Privilege::Delete,
                            ChangeAction::Update(_) | ChangeAction::UpdateAll => Privilege::Update,
                            ChangeAction::Insert { .. } | ChangeAction::InsertAll => {
                                Privilege::Insert
                            }
                        });
                    }
                }
            }
            if change.schema_evolution {
                needs.push(Own(&change.target));
            }
            needs
        }
        // It answers how many rows there were.
        Statement::Truncate { target } => vec![On(target, Privilege::Delete), All(target)],
        Statement::Alter(alter) => vec![Own(&alter.target)],
        // It looks at what is there before it writes.
        Statement::Copy(_) => {
            vec![Everywhere(Privilege::WriteFiles), Everywhere(Privilege::ReadFiles)]
        }
        Statement::Maintain(maintain) => match maintain {
            Maintain::Optimize { target, .. }
            | Maintain::Vacuum { target, .. }
            | Maintain::Restore { target, .. }
            | Maintain::Validate { target } => vec![Own(target)],
            Maintain::Convert { .. } => {
                vec![Everywhere(Privilege::ReadFiles), Everywhere(Privilege::WriteFiles)]
            }
        },
        Statement::CreateSchema { .. } => vec![Everywhere(Privilege::Create)],
        Statement::DropSchema { name, cascade, .. } => match cascade {
            false => vec![Everywhere(Privilege::Create)],
            true => vec![Everywhere(Privilege::Create), OwnIn(name)],
        },
        Statement::CreateTable(create) => needs_of_table(create),
        Statement::CreateView(create) => vec![Create(&create.name)],
        // Outside of a folder it is refused, and there it is a part of what reads it.
        Statement::CreateTemporaryView(_) => Vec::new(),
        Statement::CreateMaterializedView(create) => {
            let mut needs = vec![Create(&create.name)];
            if create.location.is_some() {
                needs.extend([Privilege::ReadFiles, Privilege::WriteFiles].map(Everywhere));
            }
            needs
        }
        Statement::CreateStreamingTable(create) => {
            let mut needs = vec![Create(&create.name)];
            if create.location.is_some() {
                needs.extend([Privilege::ReadFiles, Privilege::WriteFiles].map(Everywhere));
            }
            needs
        }
        Statement::CreateFlow(create) => vec![Own(&create.target)],
        // Whose table it feeds is looked up, and checked, when it runs.
        Statement::DropFlow { .. } => Vec::new(),
        // Whose transforms these are is looked up, and checked, when it runs.
        Statement::Folder { .. } => Vec::new(),
        Statement::Drop(drop) => vec![Own(&drop.name)],
        Statement::AlterTransform(alter) => vec![Own(&alter.name)],
        Statement::Suspend { name }
        | Statement::Resume { name }
        | Statement::Quarantine(Quarantine { name, .. }) => vec![Own(name)],
        Statement::ExplainRefresh { name, .. }
        | Statement::Backfill(Backfill { name, .. })
        | Statement::Verify { name, .. } => {
            vec![On(name, Privilege::Refresh)]
        }
        Statement::Show(show) => match show {
            Show::Schemas | Show::Tables { .. } | Show::Setting { .. } => Vec::new(),
            Show::Columns { name } => vec![See(name)],
            Show::Create { name } => vec![Definition(name)],
            // Both tell of values: of those in files, and of those in conditions.
            Show::History { name, .. } | Show::Detail { name } => vec![All(name)],
        },
        Statement::Rights(statement) => match statement {
            RightsStatement::CreateRole { .. }
            | RightsStatement::DropRole { .. }
            | RightsStatement::CreateUser { .. }
            | RightsStatement::Limit { .. }
            | RightsStatement::DropUser { .. }
            | RightsStatement::GrantRoles { .. }
            | RightsStatement::RevokeRoles { .. } => vec![Admin],
            RightsStatement::SetPassword { name, .. } => vec![Be(Some(name))],
            RightsStatement::CreateToken { user, .. } | RightsStatement::DropToken { user, .. } => {
                vec![Be(user.as_deref())]
            }
            RightsStatement::Grant { granted, .. } | RightsStatement::Revoke { granted, .. } => {
                match &granted.on {
                    SecurableName::Object(name) => vec![Own(name)],
                    SecurableName::Schema(_) | SecurableName::Catalog => vec![Admin],
                }
            }
            RightsStatement::Owner { object, .. } => vec![Own(&object.name)],
            RightsStatement::Policy { target, .. } => vec![Own(target)],
        },
    }
}

/// A place of one's own may be a place of somebody else's table, so it needs the rights to files.
fn needs_of_table(create: &CreateTable) -> Vec<Need<'_>> {
    let mut needs = vec![Need::Create(&create.name)];
    let plain = create.format.unwrap_or(TableFormat::Delta) != TableFormat::Delta;
    if create.location.is_some() || create.external || plain {
        needs.push(Need::Everywhere(Privilege::ReadFiles));
        // Plain files are only ever read.
        if !plain {
            needs.push(Need::Everywhere(Privilege::WriteFiles));
        }
    }
    needs.extend(create.like.as_ref().map(|like| Need::On(like, Privilege::Select)));
    needs
}

impl Queries {
    /// Whether everybody who can know of an object may read all of its rows, so that some of them may
    /// be shown where jobs are.
    pub async fn may_show_rows(&self, object: &Object) -> Result<bool, QueryError> {
        if !object.policy.is_empty() {
            return Ok(false);
        }
        let grants = self.inner.options.catalog.grants().await?;
        let concerns = |on: &Securable| match on {
            Securable::Catalog => true,
            Securable::Schema(schema) => schema == object.name.schema(),
            Securable::Object(id) => *id == object.id,
        };
        let about = |grant: &Grant| {
            concerns(&grant.on)
                && (grant.privilege.fits(&Securable::Object(object.id)) || grant.column.is_some())
        };
        let grants: Vec<_> =
            grants.into_iter().map(|given| given.grant).filter(|grant| about(grant)).collect();
        let reads_all = |grantee: &str| {
            let whole =
                |grant: &&Grant| grant.privilege == Privilege::Select && grant.column.is_none();
            grants.iter().filter(whole).any(|grant| grant.grantee == grantee)
        };
        Ok(grants.iter().all(|grant| reads_all(&grant.grantee)))
    }
}

/// The error for a privilege that was not granted.
pub(crate) fn not_granted(rights: &Rights, privilege: Privilege, on: &str) -> QueryError {
    let grant = format!("GRANT {privilege} ON {on} TO {}", model::name::quote(rights.name()));
    let hint = format!("whoever owns it, or an admin, can say {grant}");
    denied(rights, &format!("{privilege} ON {on}"), &hint)
}

/// The error for an object of somebody else.
pub(crate) fn not_owned(rights: &Rights, object: &Object) -> QueryError {
    let owner = &object.owner;
    let hint = match is_reserved(owner) {
        true => "an admin may, or can give it another owner: ALTER … OWNER TO".to_owned(),
        false => format!("'{owner}' owns it, and an admin may do it too"),
    };
    denied(rights, &format!("do that with '{}': its owner may", object.name), &hint)
}

pub(crate) fn denied(rights: &Rights, what: &str, hint: &str) -> QueryError {
    QueryError::Denied {
        who: rights.name().to_owned(),
        what: what.to_owned(),
        hint: hint.to_owned(),
    }
}
