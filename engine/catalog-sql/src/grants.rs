//! Roles and grants.
//!
//! Whoever changes them, or users, first takes the lock of the objects
//! (`catalog_state.objects_version`): a drop and a grant, or two drops of admins, then come one after
//! the other.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    grants::{GivenGrant, Grants, Member},
};
use model::{
    limits::RoleLimits,
    rights::{ADMIN, Grant, PUBLIC, Privilege, Rights, Securable},
    time::Timestamp,
};

use crate::{
    SqlCatalog,
    database::{Database, Transaction, row},
    objects::next_objects_version,
    sql::sql,
    value::{Row, corrupt, values},
};

#[async_trait]
impl<D: Database> Grants for SqlCatalog<D> {
    async fn drop_principal(&self, name: &str) -> Result<bool, CatalogError> {
        if [ADMIN, PUBLIC].contains(&name) {
            return Err(CatalogError::BuiltInRole(name.to_owned()));
        }
        let mut tx = self.db.write("drop a user or role").await?;
        next_objects_version(&mut tx).await?;
        if !is_principal(&mut tx, name).await? {
            return Ok(false);
        }
        let had_admin = has_admin(&mut tx).await?;
        let mut owned =
            row(&mut tx, sql!("SELECT count(*) FROM objects WHERE owner = $1"), values![name])
                .await?
                .ok_or_else(|| corrupt("count of objects", "no answer"))?;
        let objects = owned.count("count of objects")?;
        if objects > 0 {
            return Err(CatalogError::StillOwns { name: name.to_owned(), objects });
        }
        for sql in [
            sql!("DELETE FROM role_members WHERE member = $1 OR role = $1"),
            sql!("DELETE FROM grants WHERE grantee = $1"),
            sql!("DELETE FROM tokens WHERE user_name = $1"),
            sql!("DELETE FROM users WHERE name = $1"),
            sql!("DELETE FROM roles WHERE name = $1"),
        ] {
            tx.rows(sql, values![name]).await?;
        }
        // Nobody could give the power back.
        if had_admin && !has_admin(&mut tx).await? {
            return Err(CatalogError::LastAdmin(name.to_owned()));
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn users(&self) -> Result<Vec<String>, CatalogError> {
        let sql = sql!("SELECT name FROM users ORDER BY name");
        let rows = self.db.rows("list the users", sql, values![]).await?;
        rows.into_iter().map(|mut row| row.text("user")).collect()
    }

    async fn roles(&self) -> Result<Vec<String>, CatalogError> {
        let sql = sql!("SELECT name FROM roles ORDER BY name");
        let rows = self.db.rows("list the roles", sql, values![]).await?;
        rows.into_iter().map(|mut row| row.text("role")).collect()
    }

    async fn members(&self) -> Result<Vec<Member>, CatalogError> {
        let sql = sql!("SELECT role, member FROM role_members ORDER BY role, member");
        let rows = self.db.rows("list the members of roles", sql, values![]).await?;
        let member =
            |mut row: Row| Ok(Member { role: row.text("role")?, member: row.text("member")? });
        rows.into_iter().map(member).collect()
    }

    async fn create_role(&self, name: &str) -> Result<(), CatalogError> {
        let mut tx = self.db.write("create a role").await?;
        next_objects_version(&mut tx).await?;
        refuse_taken(&mut tx, name).await?;
        tx.rows(sql!("INSERT INTO roles (name) VALUES ($1)"), values![name]).await?;
        tx.commit().await
    }

    async fn set_limits(&self, role: &str, limits: &RoleLimits) -> Result<(), CatalogError> {
        let text = serde_json::to_string(limits).map_err(|e| corrupt("limits of a role", e))?;
        let mut tx = self.db.write("limit a role").await?;
        let found = row(
            &mut tx,
            sql!("UPDATE roles SET limits = $2 WHERE name = $1 RETURNING name"),
            values![role, text],
        )
        .await?;
        if found.is_none() {
            return Err(CatalogError::RoleNotFound(role.to_owned()));
        }
        tx.commit().await
    }

    async fn limits(&self) -> Result<BTreeMap<String, RoleLimits>, CatalogError> {
        let sql = sql!("SELECT name, limits FROM roles WHERE limits <> '{}' ORDER BY name");
        let rows = self.db.rows("list the limits of roles", sql, values![]).await?;
        let of_role =
            |mut row: Row| Ok((row.text("role")?, read_limits(&row.text("limits of a role")?)?));
        rows.into_iter().map(of_role).collect()
    }

    async fn add_member(&self, member: &Member) -> Result<(), CatalogError> {
        let Member { role, member } = member;
        let mut tx = self.db.write("add a member to a role").await?;
        next_objects_version(&mut tx).await?;
        let found =
            row(&mut tx, sql!("SELECT name FROM roles WHERE name = $1"), values![role.as_str()])
                .await?;
        if found.is_none() {
            return Err(CatalogError::RoleNotFound(role.clone()));
        }
        if !is_principal(&mut tx, member).await? {
            return Err(CatalogError::PrincipalNotFound(member.clone()));
        }
        let circle = row(
            &mut tx,
            sql!("WITH RECURSIVE r (name) AS (VALUES (CAST($1 AS TEXT)" BYTES ")"
                 " UNION SELECT m.role FROM role_members m JOIN r ON m.member = r.name)"
                 " SELECT name FROM r WHERE name = $2"),
            values![role.as_str(), member.as_str()],
        )
        .await?;
        if circle.is_some() {
            return Err(CatalogError::RoleCycle { role: role.clone(), member: member.clone() });
        }
        insert_member(&mut tx, role, member).await?;
        tx.commit().await
    }

    async fn remove_member(&self, member: &Member) -> Result<bool, CatalogError> {
        let Member { role, member } = member;
        let mut tx = self.db.write("remove a member from a role").await?;
        next_objects_version(&mut tx).await?;
        let had_admin = has_admin(&mut tx).await?;
        let found = row(
            &mut tx,
            sql!("DELETE FROM role_members WHERE role = $1 AND member = $2 RETURNING role"),
            values![role.as_str(), member.as_str()],
        )
        .await?;
        if had_admin && !has_admin(&mut tx).await? {
            return Err(CatalogError::LastAdmin(member.clone()));
        }
        tx.commit().await?;
        Ok(found.is_some())
    }

    async fn grant(&self, grants: &[Grant], by: &str, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.db.write("grant").await?;
        next_objects_version(&mut tx).await?;
        for grant in grants {
            if !is_principal(&mut tx, &grant.grantee).await? {
                return Err(CatalogError::PrincipalNotFound(grant.grantee.clone()));
            }
            let (kind, id) = stored(&grant.on);
            tx.rows(
                sql!("INSERT INTO grants (grantee, privilege, on_kind, on_id, column_name,"
                     " granted_by, granted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
                     " ON CONFLICT DO NOTHING"),
                values![
                    grant.grantee.as_str(),
                    grant.privilege.as_sql(),
                    kind,
                    id,
                    grant.column.clone().unwrap_or_default(),
                    by,
                    now,
                ],
            )
            .await?;
        }
        tx.commit().await
    }

    async fn revoke(&self, grants: &[Grant]) -> Result<u64, CatalogError> {
        let mut tx = self.db.write("revoke").await?;
        next_objects_version(&mut tx).await?;
        let mut revoked = 0;
        for grant in grants {
            let (kind, id) = stored(&grant.on);
            let gone = tx
                .rows(
                    sql!("DELETE FROM grants WHERE grantee = $1 AND privilege = $2"
                         " AND on_kind = $3 AND on_id = $4 AND ($5 = '' OR column_name = $5)"
                         " RETURNING grantee"),
                    values![
                        grant.grantee.as_str(),
                        grant.privilege.as_sql(),
                        kind,
                        id,
                        grant.column.clone().unwrap_or_default(),
                    ],
                )
                .await?;
            revoked += gone.len() as u64;
        }
        tx.commit().await?;
        Ok(revoked)
    }

    async fn grants(&self) -> Result<Vec<GivenGrant>, CatalogError> {
        let sql = sql!("SELECT grantee, privilege, on_kind, on_id, column_name, granted_by, granted_at"
            " FROM grants ORDER BY on_kind, on_id, grantee, privilege, column_name");
        let rows = self.db.rows("list the grants", sql, values![]).await?;
        let given = |mut row: Row| {
            let grantee = row.text("grantee")?;
            let grant = read_grant(&mut row, grantee)?;
            Ok(GivenGrant { grant, by: row.text("grantor")?, at: row.time("time of a grant")? })
        };
        rows.into_iter().map(given).collect()
    }

    async fn rights(&self, name: &str) -> Result<Option<Rights>, CatalogError> {
        let rows = self
            .db
            .rows(
                "read what somebody may do",
                sql!("WITH RECURSIVE r (name) AS (VALUES (CAST($1 AS TEXT)" BYTES "), ('public'" BYTES ")"
                     " UNION SELECT m.role FROM role_members m JOIN r ON m.member = r.name)"
                     " SELECT 'KNOWN', name, '', '', '', '' FROM users WHERE name = $1"
                     " UNION ALL SELECT 'KNOWN', name, '', '', '', '' FROM roles WHERE name = $1"
                     " UNION ALL SELECT 'ROLE', r.name, coalesce(l.limits, '{}'), '', '', ''"
                     " FROM r LEFT JOIN roles l ON l.name = r.name"
                     " UNION ALL SELECT 'GRANT', g.grantee, g.privilege, g.on_kind, g.on_id,"
                     " g.column_name FROM grants g JOIN r ON r.name = g.grantee"),
                values![name],
            )
            .await?;
        let (mut known, mut roles, mut grants) = (false, BTreeSet::new(), Vec::new());
        let mut limits = BTreeMap::new();
        for mut row in rows {
            let (kind, subject) = (row.text("kind of a right")?, row.text("principal")?);
            match kind.as_str() {
                "KNOWN" => known = true,
                "ROLE" => {
                    let of_role = read_limits(&row.text("limits of a role")?)?;
                    if !of_role.is_empty() {
                        limits.insert(subject.clone(), of_role);
                    }
                    roles.insert(subject);
                }
                _ => grants.push(read_grant(&mut row, subject)?),
            }
        }
        Ok(known.then(|| Rights::new(name, roles, grants).with_limits(limits)))
    }
}

fn read_limits(text: &str) -> Result<RoleLimits, CatalogError> {
    serde_json::from_str(text).map_err(|e| corrupt("limits of a role", e))
}

/// Whether there is a user or role of that name.
pub(crate) async fn is_principal(
    tx: &mut impl Transaction,
    name: &str,
) -> Result<bool, CatalogError> {
    let sql = sql!("SELECT name FROM users WHERE name = $1"
        " UNION ALL SELECT name FROM roles WHERE name = $1");
    Ok(row(tx, sql, values![name]).await?.is_some())
}

pub(crate) async fn refuse_taken(
    tx: &mut impl Transaction,
    name: &str,
) -> Result<(), CatalogError> {
    match is_principal(tx, name).await? {
        true => Err(CatalogError::PrincipalExists(name.to_owned())),
        false => Ok(()),
    }
}

pub(crate) async fn insert_member(
    tx: &mut impl Transaction,
    role: &str,
    member: &str,
) -> Result<(), CatalogError> {
    let sql =
        sql!("INSERT INTO role_members (role, member) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    tx.rows(sql, values![role, member]).await?;
    Ok(())
}

/// Whether there is a user who may do everything.
async fn has_admin(tx: &mut impl Transaction) -> Result<bool, CatalogError> {
    let sql = sql!("WITH RECURSIVE a (name) AS (VALUES ('admin'" BYTES ")"
        " UNION SELECT m.member FROM role_members m JOIN a ON m.role = a.name)"
        " SELECT u.name FROM users u JOIN a ON a.name = u.name LIMIT 1");
    Ok(row(tx, sql, values![]).await?.is_some())
}

/// How a securable is stored: its kind, and its id among those.
fn stored(on: &Securable) -> (&'static str, String) {
    match on {
        Securable::Catalog => ("CATALOG", String::new()),
        Securable::Schema(name) => ("SCHEMA", name.clone()),
        Securable::Object(id) => ("OBJECT", id.to_string()),
    }
}

/// Privilege, kind, id and column, in this order.
fn read_grant(row: &mut Row, grantee: String) -> Result<Grant, CatalogError> {
    let privilege = row.parsed::<Privilege>("privilege")?;
    let (kind, id) = (row.text("kind of a securable")?, row.text("id of a securable")?);
    let on = match kind.as_str() {
        "CATALOG" => Securable::Catalog,
        "SCHEMA" => Securable::Schema(id),
        "OBJECT" => Securable::Object(id.parse().map_err(|e| corrupt("id of a securable", e))?),
        other => return Err(corrupt("kind of a securable", format!("'{other}' is none"))),
    };
    let column = row.text("column of a grant")?;
    Ok(Grant { grantee, privilege, on, column: (!column.is_empty()).then_some(column) })
}
