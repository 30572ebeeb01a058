//! Users, roles and grants as tables.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use catalog::grants::GivenGrant;
use model::{
    id::ObjectId,
    object::Object,
    rights::{ADMIN, Grant, Rights, Securable},
};

use crate::{answer::Answer, error::QueryError, queries::Inner};

/// Users; the caller alone unless it is an admin.
pub(super) async fn users(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let catalog = &queries.options.catalog;
    let mut users = catalog.users().await?;
    users.retain(|user| rights.is_admin() || user == rights.name());
    let mut admins = Vec::with_capacity(users.len());
    for user in &users {
        let rights = catalog.rights(user).await?;
        admins.push(rights.is_some_and(|rights| rights.is_member(ADMIN)));
    }
    Ok(Answer::new().text("name", &users).flag("is_admin", admins).finish())
}

/// Limits of roles; of the caller's own roles unless it is an admin.
pub(super) async fn limits(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let mut all = queries.options.catalog.limits().await?;
    all.retain(|role, _| rights.is_admin() || rights.is_member(role));
    let each = || all.iter().flat_map(|(role, limits)| limits.iter().map(move |l| (role, l)));
    Ok(Answer::new()
        .text("role", each().map(|(role, _)| role))
        .text("limit", each().map(|(_, (limit, _))| limit.as_str()))
        .text("value", each().map(|(_, (limit, value))| limit.show(value)))
        .finish())
}

/// Tokens; those of the caller alone unless it is an admin.
pub(super) async fn tokens(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let mut tokens = queries.options.catalog.tokens().await?;
    tokens.retain(|token| rights.is_admin() || token.user == rights.name());
    let now = queries.options.clock.now();
    Ok(Answer::new()
        .text("user_name", tokens.iter().map(|token| token.user.as_str()))
        .text("name", tokens.iter().map(|token| token.name.as_str()))
        .flag("expired", tokens.iter().map(|token| token.expires_at.is_some_and(|at| at <= now)))
        .time("expires_at", tokens.iter().map(|token| token.expires_at))
        .time("last_used_at", tokens.iter().map(|token| token.last_used_at))
        .text("created_by", tokens.iter().map(|token| token.created_by.as_str()))
        .time("created_at", tokens.iter().map(|token| token.created_at))
        .finish())
}

/// Each membership, and each role without members; the roles of the caller unless it is an admin.
pub(super) async fn roles(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let catalog = &queries.options.catalog;
    let members = catalog.members().await?;
    let mut rows: Vec<(String, Option<String>)> = Vec::new();
    for role in catalog.roles().await? {
        if !rights.is_admin() && !rights.is_member(&role) {
            continue;
        }
        let of_role = members.iter().filter(|member| member.role == role);
        let known = rows.len();
        rows.extend(of_role.map(|member| (role.clone(), Some(member.member.clone()))));
        if rows.len() == known {
            rows.push((role, None));
        }
    }
    Ok(Answer::new()
        .text("role", rows.iter().map(|(role, _)| role))
        .maybe_text("member", rows.iter().map(|(_, member)| member.as_deref()))
        .finish())
}

/// Grants; those to the caller and its roles, and those on what it owns, unless it is an admin.
pub(super) async fn grants(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let catalog = &queries.options.catalog;
    let objects: HashMap<ObjectId, Object> =
        catalog.objects().await?.into_iter().map(|object| (object.id, object)).collect();
    let object = |grant: &Grant| match &grant.on {
        Securable::Object(id) => objects.get(id),
        Securable::Catalog | Securable::Schema(_) => None,
    };
    let mut grants = catalog.grants().await?;
    grants.retain(|GivenGrant { grant, .. }| {
        rights.is_admin()
            || rights.is_member(&grant.grantee)
            || object(grant).is_some_and(|object| rights.owns(object))
    });
    let each = || grants.iter().map(|given| &given.grant);
    Ok(Answer::new()
        .text("grantee", each().map(|grant| grant.grantee.as_str()))
        .text("privilege", each().map(|grant| grant.privilege.as_sql()))
        .text(
            "on_kind",
            each().map(|grant| match &grant.on {
                Securable::Catalog => "CATALOG",
                Securable::Schema(_) => "SCHEMA",
                Securable::Object(_) => object(grant).map_or("TABLE", |o| o.kind().as_sql()),
            }),
        )
        .text(
            "on_name",
            each().map(|grant| match &grant.on {
                Securable::Catalog => model::name::CATALOG.to_owned(),
                Securable::Schema(name) => name.clone(),
                Securable::Object(id) => {
                    object(grant).map_or_else(|| id.to_string(), |object| object.name.to_string())
                }
            }),
        )
        .maybe_text("column", each().map(|grant| grant.column.as_deref()))
        .text("granted_by", grants.iter().map(|given| given.by.as_str()))
        .time("granted_at", grants.iter().map(|given| given.at))
        .finish())
}
