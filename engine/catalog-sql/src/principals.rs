//! Users.

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    principals::{Principals, User},
};
use model::rights::ADMIN;

use crate::{
    SqlCatalog,
    database::{Database, Transaction, row},
    grants::{insert_member, refuse_taken},
    objects::next_objects_version,
    sql::sql,
    value::values,
};

#[async_trait]
impl<D: Database> Principals for SqlCatalog<D> {
    async fn add_user(&self, user: &User) -> Result<(), CatalogError> {
        let mut tx = self.db.write("add a user").await?;
        next_objects_version(&mut tx).await?;
        refuse_taken(&mut tx, &user.name).await?;
        let first = tx.rows(sql!("SELECT name FROM users LIMIT 1"), values![]).await?.is_empty();
        tx.rows(
            sql!("INSERT INTO users (name, password_hash, scram_verifier) VALUES ($1, $2, $3)"),
            values![
                user.name.as_str(),
                user.password_hash.clone().unwrap_or_default(),
                user.scram_verifier.clone()
            ],
        )
        .await?;
        if first {
            insert_member(&mut tx, ADMIN, &user.name).await?;
        }
        tx.commit().await
    }

    async fn set_password_hash(
        &self,
        name: &str,
        password_hash: &str,
        scram_verifier: &str,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.db.write("set a password").await?;
        let found = row(
            &mut tx,
            sql!("UPDATE users SET password_hash = $2, scram_verifier = $3"
                 " WHERE name = $1 RETURNING name"),
            values![name, password_hash, scram_verifier],
        )
        .await?;
        tx.commit().await?;
        Ok(found.is_some())
    }

    async fn user(&self, name: &str) -> Result<Option<User>, CatalogError> {
        let rows = self
            .db
            .rows(
                "read a user",
                sql!("SELECT name, password_hash, scram_verifier FROM users WHERE name = $1"),
                values![name],
            )
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let name = row.text("user")?;
        // The column takes no NULL: users without a password came later.
        let password_hash = Some(row.text("password hash")?).filter(|hash| !hash.is_empty());
        Ok(Some(User { name, password_hash, scram_verifier: row.text_opt("SCRAM verifier")? }))
    }

    async fn has_users(&self) -> Result<bool, CatalogError> {
        let rows = self
            .db
            .rows("look for users", sql!("SELECT name FROM users LIMIT 1"), values![])
            .await?;
        Ok(!rows.is_empty())
    }
}
