//! Roles, GRANT and REVOKE, owners, row filters and masks.

use std::collections::BTreeSet;

use catalog::{error::CatalogError, grants::Member};
use dialect::statement::{Granted, OwnedObject, PolicyAction, RightsStatement, SecurableName};
use model::{
    name::{CATALOG, ObjectName},
    object::Object,
    rights::{Grant, PUBLIC, Privilege, Rights, Securable},
};

use super::{
    tables::wrong_kind,
    users::{self, check_name},
};
use crate::{
    authorize::denied,
    describe,
    error::QueryError,
    queries::{CommandResult, Inner, Queries},
    session::Session,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    statement: RightsStatement,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let catalog = &inner.options.catalog;
    match statement {
        RightsStatement::CreateRole { name, if_not_exists } => {
            check_name(&name)?;
            match catalog.create_role(&name).await {
                Err(CatalogError::PrincipalExists(_)) if if_not_exists => {
                    match catalog.user(&name).await? {
                        None => {}
                        Some(_) => return Err(CatalogError::PrincipalExists(name).into()),
                    }
                }
                other => other?,
            }
        }
        RightsStatement::DropRole { name, if_exists } => {
            let is_role = catalog.roles().await?.contains(&name);
            if !is_role && !if_exists {
                return Err(CatalogError::RoleNotFound(name).into());
            }
            if is_role {
                catalog.drop_principal(&name).await?;
            }
        }
        RightsStatement::CreateUser { name, password, if_not_exists } => {
            users::create(inner, name, password, if_not_exists).await?;
        }
        RightsStatement::Limit { role, limits: set, reset } => {
            let known = catalog.limits().await?;
            let mut limits = known.get(&role).filter(|_| !reset).cloned().unwrap_or_default();
            set.into_iter().for_each(|(limit, value)| limits.set(limit, value));
            catalog.set_limits(&role, &limits).await?;
        }
        RightsStatement::SetPassword { name, password } => {
            users::set_password(inner, name, &password).await?;
        }
        RightsStatement::CreateToken { name, user, expiry } => {
            return users::create_token(inner, session, name, user, expiry).await;
        }
        RightsStatement::DropToken { name, user, if_exists } => {
            users::drop_token(inner, session, &name, user, if_exists).await?;
        }
        RightsStatement::DropUser { name, if_exists } => {
            let is_user = catalog.user(&name).await?.is_some();
            if !is_user && !if_exists {
                return Err(CatalogError::PrincipalNotFound(name).into());
            }
            if is_user {
                catalog.drop_principal(&name).await?;
                inner.options.credentials.changed();
            }
        }
        RightsStatement::GrantRoles { roles, to } => {
            for member in pairs(&roles, &to) {
                catalog.add_member(&member).await?;
            }
        }
        RightsStatement::RevokeRoles { roles, from } => {
            for member in pairs(&roles, &from) {
                catalog.remove_member(&member).await?;
            }
        }
        RightsStatement::Grant { granted, to } => {
            let grants = grants(inner, session, &granted, &to).await?;
            let by = session.principal().name();
            catalog.grant(&grants, by, inner.options.clock.now()).await?;
        }
        RightsStatement::Revoke { granted, from } => {
            let grants = grants(inner, session, &granted, &from).await?;
            catalog.revoke(&grants).await?;
        }
        RightsStatement::Owner { object, owner } => {
            give_away(inner, session, &object, &owner).await?;
        }
        RightsStatement::Policy { target, action } => {
            let name = ObjectName::from_parts(&target, session.schema())?;
            let object = inner.object_named(session, &name).await?;
            set_policy(inner, session, object, action).await?;
        }
    }
    Ok(CommandResult::done())
}

fn pairs(roles: &[String], members: &[String]) -> Vec<Member> {
    let pair =
        |role: &String, member: &String| Member { role: role.clone(), member: member.clone() };
    roles.iter().flat_map(|role| members.iter().map(move |member| pair(role, member))).collect()
}

/// Each privilege of each column for each grantee.
async fn grants(
    inner: &Inner,
    session: &Session,
    granted: &Granted,
    grantees: &[String],
) -> Result<Vec<Grant>, QueryError> {
    let (on, shown) = securable(inner, session, &granted.on).await?;
    let mut wanted: Vec<(Privilege, Option<String>)> = Vec::new();
    for privilege_of in &granted.privileges {
        let privilege = privilege_of.privilege;
        if !privilege.fits(&on) {
            let where_else = match privilege {
                Privilege::Create => "a schema or the catalog",
                _ => "the catalog",
            };
            return Err(QueryError::Invalid(format!(
                "{privilege} cannot be granted on {shown}: it is a right on {where_else}"
            )));
        }
        if privilege_of.columns.is_empty() {
            wanted.push((privilege, None));
        }
        wanted.extend(privilege_of.columns.iter().map(|column| (privilege, Some(column.clone()))));
    }
    if granted.privileges.is_empty() {
        let all = Privilege::ALL.into_iter().filter(|privilege| privilege.fits(&on));
        wanted.extend(all.map(|privilege| (privilege, None)));
    }
    if let SecurableName::Object(name) = &granted.on {
        let name = ObjectName::from_parts(name, session.schema())?;
        let object = inner.object_named(session, &name).await?;
        let columns: Vec<_> = wanted.iter().filter_map(|(_, column)| column.clone()).collect();
        must_have(inner, &object, &columns).await?;
    }
    let each = |grantee: &String| {
        let (grantee, on) = (grantee.clone(), on.clone());
        wanted.iter().map(move |(privilege, column)| Grant {
            grantee: grantee.clone(),
            privilege: *privilege,
            on: on.clone(),
            column: column.clone(),
        })
    };
    let grants: BTreeSet<_> = grantees.iter().flat_map(each).collect();
    Ok(grants.into_iter().collect())
}

async fn securable(
    inner: &Inner,
    session: &Session,
    on: &SecurableName,
) -> Result<(Securable, String), QueryError> {
    match on {
        SecurableName::Catalog => Ok((Securable::Catalog, "the catalog".to_owned())),
        SecurableName::Schema(parts) => {
            let name = match parts.as_slice() {
                [name] => name,
                [catalog, name] if catalog == CATALOG => name,
                _ => {
                    let text = format!("'{}' is not the name of a schema", parts.join("."));
                    return Err(QueryError::Invalid(text));
                }
            };
            let schemas = inner.options.catalog.schemas().await?;
            if !schemas.iter().any(|schema| schema.name == *name) {
                return Err(CatalogError::SchemaNotFound(name.clone()).into());
            }
            Ok((Securable::Schema(name.clone()), format!("schema '{name}'")))
        }
        SecurableName::Object(parts) => {
            let name = ObjectName::from_parts(parts, session.schema())?;
            let object = inner.object_named(session, &name).await?;
            Ok((Securable::Object(object.id), format!("'{name}'")))
        }
    }
}

/// Refuses columns that an object does not have: nothing would ever be said of a typing error.
async fn must_have(inner: &Inner, object: &Object, columns: &[String]) -> Result<(), QueryError> {
    if columns.is_empty() {
        return Ok(());
    }
    let everything = Rights::everything("");
    let schema = describe::columns(inner, &everything, object).await?;
    let unknown = columns.iter().find(|column| schema.field_with_name(column).is_err());
    let Some(column) = unknown else { return Ok(()) };
    let known = schema.fields().iter().map(|field| field.name().as_str());
    Err(QueryError::Invalid(format!(
        "'{}' has no column '{column}'; it has {}",
        object.name,
        known.collect::<Vec<_>>().join(", ")
    )))
}

/// Views and transforms are computed with the rights of their owner. So nobody can make one run
/// with rights that they do not have, the new owner has to be the caller, or a role of the caller's.
async fn give_away(
    inner: &Inner,
    session: &Session,
    object: &OwnedObject,
    owner: &str,
) -> Result<(), QueryError> {
    let name = ObjectName::from_parts(&object.name, session.schema())?;
    let found = inner.object_named(session, &name).await?;
    if object.kind.is_some_and(|kind| super::show::kind_of(kind) != found.kind()) {
        return Err(wrong_kind(&found, "and ALTER has to say so"));
    }
    let rights = inner.rights(session.principal()).await?;
    let own_role = rights.is_member(owner) && owner != PUBLIC;
    if !rights.is_admin() && !own_role {
        return Err(denied(
            &rights,
            &format!("give '{name}' to '{owner}'"),
            "the new owner has to be a role that you are a member of; an admin may give it to anybody",
        ));
    }
    Ok(inner.options.catalog.set_owner(found.id, found.definition_version, owner).await?)
}

async fn set_policy(
    inner: &Inner,
    session: &Session,
    object: Object,
    action: PolicyAction,
) -> Result<(), QueryError> {
    let mut policy = object.policy.clone();
    match action {
        PolicyAction::SetRowFilter(filter) => policy.row_filter = Some(filter),
        PolicyAction::DropRowFilter => policy.row_filter = None,
        PolicyAction::SetMask { column, mask } => {
            must_have(inner, &object, std::slice::from_ref(&column)).await?;
            policy.masks.insert(column, mask);
        }
        PolicyAction::DropMask { column } => {
            if policy.masks.remove(&column).is_none() {
                return Err(QueryError::Invalid(format!(
                    "column '{column}' of '{}' has no mask",
                    object.name
                )));
            }
        }
    }
    let checked = Object { policy: policy.clone(), ..object };
    crate::resolve::check_policy(inner, session, &checked).await?;
    let catalog = &inner.options.catalog;
    Ok(catalog.set_policy(checked.id, checked.definition_version, &policy).await?)
}
