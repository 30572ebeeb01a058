//! Users.

use super::{fixture::C, suite};
use crate::{error::CatalogError, principals::User};

suite![
    a_new_catalog_has_no_users,
    a_user_is_found_by_name,
    a_user_is_added_once,
    a_password_hash_is_replaced,
    a_user_needs_no_password,
];

fn ada() -> User {
    User {
        name: "ada".to_owned(),
        password_hash: Some("$argon2id$1".to_owned()),
        scram_verifier: None,
    }
}

async fn a_new_catalog_has_no_users(catalog: C) {
    assert!(!catalog.has_users().await.unwrap());
    assert_eq!(catalog.user("ada").await.unwrap(), None);
}

async fn a_user_is_found_by_name(catalog: C) {
    catalog.add_user(&ada()).await.unwrap();
    assert!(catalog.has_users().await.unwrap());
    assert_eq!(catalog.user("ada").await.unwrap(), Some(ada()));
    assert_eq!(catalog.user("Ada").await.unwrap(), None, "names differ by case");
}

async fn a_user_is_added_once(catalog: C) {
    catalog.add_user(&ada()).await.unwrap();
    let again = User { password_hash: Some("other".to_owned()), ..ada() };
    let error = catalog.add_user(&again).await.unwrap_err();
    assert!(matches!(error, CatalogError::PrincipalExists(name) if name == "ada"));
    assert_eq!(catalog.user("ada").await.unwrap(), Some(ada()));
}

async fn a_user_needs_no_password(catalog: C) {
    let user = User { password_hash: None, ..ada() };
    catalog.add_user(&user).await.unwrap();
    assert_eq!(catalog.user("ada").await.unwrap(), Some(user));
}

async fn a_password_hash_is_replaced(catalog: C) {
    assert!(!catalog.set_password_hash("ada", "new", "scram").await.unwrap());
    assert_eq!(catalog.user("ada").await.unwrap(), None);
    catalog.add_user(&ada()).await.unwrap();
    assert!(catalog.set_password_hash("ada", "new", "scram").await.unwrap());
    let user = catalog.user("ada").await.unwrap().unwrap();
    assert_eq!(
        (user.password_hash.as_deref(), user.scram_verifier.as_deref()),
        (Some("new"), Some("scram"))
    );
    let bob = User { name: "bob".to_owned(), ..user };
    catalog.add_user(&bob).await.unwrap();
    assert_eq!(catalog.user("bob").await.unwrap(), Some(bob));
}
