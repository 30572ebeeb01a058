//! Users, their passwords, and tokens.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use catalog::{error::CatalogError, principals::User, tokens::Token};
use dialect::statement::Expiry;
use model::{principal::is_reserved, secret::Secret, time::Timestamp};

use crate::{
    answer::Answer,
    error::QueryError,
    queries::{CommandResult, Inner},
    session::Session,
};

/// How long a token is good of which nothing else is said.
const TOKEN_DAYS: u32 = 90;

/// Names of users and roles: what logging in can carry, and nothing that the server is called.
pub(super) fn check_name(name: &str) -> Result<(), QueryError> {
    if name.trim().is_empty() || name.contains(':') || is_reserved(name) {
        return Err(QueryError::Invalid(format!(
            "'{name}' is no name for a user or role: not empty, no colon, not one of the server's own"
        )));
    }
    Ok(())
}

pub(super) async fn create(
    inner: &Inner,
    name: String,
    password: Option<Secret>,
    if_not_exists: bool,
) -> Result<(), QueryError> {
    check_name(&name)?;
    let catalog = &inner.options.catalog;
    if if_not_exists && catalog.user(&name).await?.is_some() {
        return Ok(());
    }
    if password.is_none() && !catalog.has_users().await? {
        // From then on nobody is anonymous, and nobody could log in to change that.
        return Err(QueryError::Invalid(format!(
            "'{name}' would be the first user, an admin, and could not log in: give it a PASSWORD"
        )));
    }
    let stored = match password {
        Some(password) => Some(inner.options.credentials.password(&password).await?),
        None => None,
    };
    let (password_hash, scram_verifier) =
        stored.map(|stored| (stored.hash, stored.scram_verifier)).unzip();
    match catalog.add_user(&User { name: name.clone(), password_hash, scram_verifier }).await {
        Err(CatalogError::PrincipalExists(_))
            if if_not_exists && catalog.user(&name).await?.is_some() =>
        {
            Ok(())
        }
        other => Ok(other?),
    }
}

pub(super) async fn set_password(
    inner: &Inner,
    name: String,
    password: &Secret,
) -> Result<(), QueryError> {
    let stored = inner.options.credentials.password(password).await?;
    let catalog = &inner.options.catalog;
    match catalog.set_password_hash(&name, &stored.hash, &stored.scram_verifier).await? {
        true => {
            inner.options.credentials.changed();
            Ok(())
        }
        false => Err(CatalogError::PrincipalNotFound(name).into()),
    }
}

/// Makes a token, and answers its text: the only time that it can be read.
pub(super) async fn create_token(
    inner: &Inner,
    session: &Session,
    name: String,
    user: Option<String>,
    expiry: Expiry,
) -> Result<CommandResult, QueryError> {
    if name.trim().is_empty() {
        return Err(QueryError::Invalid("a token needs a name".to_owned()));
    }
    let user = owner(session, user)?;
    let now = inner.options.clock.now();
    let expires_at = match expiry {
        Expiry::Never => None,
        Expiry::Default => Some(now.plus(Duration::from_secs(u64::from(TOKEN_DAYS) * 86_400))),
        Expiry::After { ms } => Some(now.plus(Duration::from_millis(ms))),
    };
    let made = inner.options.credentials.token()?;
    let token = Token {
        user,
        name,
        created_by: session.principal().name().to_owned(),
        created_at: now,
        expires_at,
        last_used_at: None,
    };
    inner.options.catalog.create_token(&token, &made.digest).await?;
    Ok(CommandResult::rows(answer([(&token, made.text.reveal())])))
}

/// Columns of what CREATE TOKEN answers.
pub(crate) fn answer_schema() -> SchemaRef {
    answer([]).schema()
}

fn answer<'t>(
    tokens: impl IntoIterator<Item = (&'t Token, &'t str)> + Clone,
) -> arrow::record_batch::RecordBatch {
    let each = || tokens.clone().into_iter();
    Answer::new()
        .text("token", each().map(|(_, text)| text))
        .text("user_name", each().map(|(token, _)| token.user.as_str()))
        .text("name", each().map(|(token, _)| token.name.as_str()))
        .time("expires_at", each().map(|(token, _)| -> Option<Timestamp> { token.expires_at }))
        .finish()
}

pub(super) async fn drop_token(
    inner: &Inner,
    session: &Session,
    name: &str,
    user: Option<String>,
    if_exists: bool,
) -> Result<(), QueryError> {
    let user = owner(session, user)?;
    let gone = inner.options.catalog.drop_token(&user, name).await?;
    inner.options.credentials.changed();
    if gone || if_exists {
        return Ok(());
    }
    Err(QueryError::Invalid(format!("'{user}' has no token '{name}'; SHOW TOKENS lists them")))
}

fn owner(session: &Session, user: Option<String>) -> Result<String, QueryError> {
    let own = session.principal().name();
    match user {
        Some(user) => Ok(user),
        None if session.principal().is_reserved() => Err(QueryError::Invalid(format!(
            "'{own}' is no user and has no tokens: say FOR USER name"
        ))),
        None => Ok(own.to_owned()),
    }
}
