//! Tokens.

use super::{
    fixture::{C, at},
    suite,
};
use crate::{error::CatalogError, principals::User, tokens::Token};

suite![
    a_token_is_found_by_its_digest,
    a_token_has_a_name_of_its_own_and_a_user,
    an_ended_token_opens_nothing,
    a_dropped_token_opens_nothing,
    tokens_go_with_their_user,
    the_last_use_is_noted_each_minute,
];

async fn with_users(catalog: &C) {
    for name in ["ada", "bob"] {
        let user = User { name: name.to_owned(), password_hash: None, scram_verifier: None };
        catalog.add_user(&user).await.unwrap();
    }
}

fn token(user: &str, name: &str) -> Token {
    Token {
        user: user.to_owned(),
        name: name.to_owned(),
        created_by: "ada".to_owned(),
        created_at: at(0),
        expires_at: Some(at(100)),
        last_used_at: None,
    }
}

async fn a_token_is_found_by_its_digest(catalog: C) {
    with_users(&catalog).await;
    catalog.create_token(&token("bob", "b"), "d1").await.unwrap();
    catalog.create_token(&token("ada", "a"), "d2").await.unwrap();
    assert_eq!(catalog.tokens().await.unwrap(), [token("ada", "a"), token("bob", "b")]);
    let found = catalog.use_token("d1", at(1)).await.unwrap().unwrap();
    assert_eq!((found.user.as_str(), found.name.as_str()), ("bob", "b"));
    assert_eq!(catalog.use_token("D1", at(1)).await.unwrap(), None);
}

async fn a_token_has_a_name_of_its_own_and_a_user(catalog: C) {
    with_users(&catalog).await;
    catalog.create_token(&token("ada", "a"), "d1").await.unwrap();
    let again = catalog.create_token(&token("ada", "a"), "d2").await.unwrap_err();
    assert!(
        matches!(again, CatalogError::TokenExists { user, name } if user == "ada" && name == "a")
    );
    catalog.create_token(&token("bob", "a"), "d2").await.unwrap();
    let nobody = catalog.create_token(&token("eve", "a"), "d3").await.unwrap_err();
    assert!(matches!(nobody, CatalogError::PrincipalNotFound(name) if name == "eve"));
    // A role is nobody who could log in.
    catalog.create_role("sales").await.unwrap();
    let role = catalog.create_token(&token("sales", "a"), "d3").await.unwrap_err();
    assert!(matches!(role, CatalogError::PrincipalNotFound(name) if name == "sales"));
}

async fn an_ended_token_opens_nothing(catalog: C) {
    with_users(&catalog).await;
    catalog.create_token(&token("ada", "a"), "d1").await.unwrap();
    let endless = Token { expires_at: None, ..token("ada", "b") };
    catalog.create_token(&endless, "d2").await.unwrap();
    assert!(catalog.use_token("d1", at(99)).await.unwrap().is_some());
    assert_eq!(catalog.use_token("d1", at(100)).await.unwrap(), None);
    assert!(catalog.use_token("d2", at(1_000_000)).await.unwrap().is_some());
}

async fn a_dropped_token_opens_nothing(catalog: C) {
    with_users(&catalog).await;
    catalog.create_token(&token("ada", "a"), "d1").await.unwrap();
    assert!(!catalog.drop_token("bob", "a").await.unwrap());
    assert!(catalog.use_token("d1", at(1)).await.unwrap().is_some());
    assert!(catalog.drop_token("ada", "a").await.unwrap());
    assert!(!catalog.drop_token("ada", "a").await.unwrap());
    assert_eq!(catalog.use_token("d1", at(1)).await.unwrap(), None);
}

async fn tokens_go_with_their_user(catalog: C) {
    with_users(&catalog).await;
    catalog.create_token(&token("ada", "a"), "d1").await.unwrap();
    catalog.create_token(&token("bob", "b"), "d2").await.unwrap();
    catalog.drop_principal("bob").await.unwrap();
    assert_eq!(catalog.use_token("d2", at(1)).await.unwrap(), None);
    assert_eq!(catalog.tokens().await.unwrap(), [token("ada", "a")]);
}

async fn the_last_use_is_noted_each_minute(catalog: C) {
    with_users(&catalog).await;
    let endless = Token { expires_at: None, ..token("ada", "a") };
    catalog.create_token(&endless, "d1").await.unwrap();
    let mut noted = Vec::new();
    for seconds in [5, 30, 64, 65, 200] {
        catalog.use_token("d1", at(seconds)).await.unwrap().unwrap();
        noted.push(catalog.tokens().await.unwrap()[0].last_used_at);
    }
    assert_eq!(noted, [5, 5, 5, 65, 200].map(|seconds| Some(at(seconds))));
}
