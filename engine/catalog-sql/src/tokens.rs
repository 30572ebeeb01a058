//! Tokens.

use std::time::Duration;

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    tokens::{Token, Tokens},
};
use model::time::Timestamp;

use crate::{
    SqlCatalog,
    database::{Database, Transaction, row},
    objects::next_objects_version,
    sql::sql,
    value::{Row, values},
};

/// How exact the time of the last use is: a write for every request would be a high price.
const NOTE_USE_EVERY: Duration = Duration::from_secs(60);

#[async_trait]
impl<D: Database> Tokens for SqlCatalog<D> {
    async fn create_token(&self, token: &Token, digest: &str) -> Result<(), CatalogError> {
        let mut tx = self.db.write("create a token").await?;
        // Whoever drops the user at the same time comes before or after.
        next_objects_version(&mut tx).await?;
        let user = token.user.as_str();
        if row(&mut tx, sql!("SELECT name FROM users WHERE name = $1"), values![user])
            .await?
            .is_none()
        {
            return Err(CatalogError::PrincipalNotFound(token.user.clone()));
        }
        let taken = row(
            &mut tx,
            sql!("SELECT name FROM tokens WHERE user_name = $1 AND name = $2"),
            values![user, token.name.as_str()],
        )
        .await?;
        if taken.is_some() {
            let (user, name) = (token.user.clone(), token.name.clone());
            return Err(CatalogError::TokenExists { user, name });
        }
        tx.rows(
            sql!("INSERT INTO tokens (digest, user_name, name, created_by, created_at, expires_at,"
                 " last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"),
            values![
                digest,
                user,
                token.name.as_str(),
                token.created_by.as_str(),
                token.created_at,
                token.expires_at,
                token.last_used_at,
            ],
        )
        .await?;
        tx.commit().await
    }

    async fn drop_token(&self, user: &str, name: &str) -> Result<bool, CatalogError> {
        let mut tx = self.db.write("drop a token").await?;
        let gone = row(
            &mut tx,
            sql!("DELETE FROM tokens WHERE user_name = $1 AND name = $2 RETURNING name"),
            values![user, name],
        )
        .await?;
        tx.commit().await?;
        Ok(gone.is_some())
    }

    async fn tokens(&self) -> Result<Vec<Token>, CatalogError> {
        let sql = sql!("SELECT user_name, name, created_by, created_at, expires_at, last_used_at"
            " FROM tokens ORDER BY user_name, name");
        let rows = self.db.rows("list the tokens", sql, values![]).await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    async fn use_token(&self, digest: &str, now: Timestamp) -> Result<Option<Token>, CatalogError> {
        let sql = sql!("SELECT user_name, name, created_by, created_at, expires_at, last_used_at"
            " FROM tokens WHERE digest = $1");
        let rows = self.db.rows("look up a token", sql, values![digest]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let token = read(&mut row)?;
        if token.expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        if token.last_used_at.is_none_or(|last| now.since(last) >= NOTE_USE_EVERY) {
            let mut tx = self.db.write("note the use of a token").await?;
            tx.rows(
                sql!("UPDATE tokens SET last_used_at = $2 WHERE digest = $1"),
                values![digest, now],
            )
            .await?;
            tx.commit().await?;
        }
        Ok(Some(token))
    }
}

fn read(row: &mut Row) -> Result<Token, CatalogError> {
    Ok(Token {
        user: row.text("user of a token")?,
        name: row.text("name of a token")?,
        created_by: row.text("maker of a token")?,
        created_at: row.time("time of a token")?,
        expires_at: row.time_opt("end of a token")?,
        last_used_at: row.time_opt("last use of a token")?,
    })
}
