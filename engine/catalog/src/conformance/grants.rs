//! Roles and grants.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    limits::{Limit, RoleLimits},
    object::Policy,
    rights::{ADMIN, Columns, Grant, PUBLIC, Privilege, Rights, Securable},
};

use super::{
    fixture::{C, at, table},
    suite,
};
use crate::{
    error::CatalogError,
    grants::{GivenGrant, Member},
    objects::{OnConflict, Schema},
    principals::User,
};

suite![
    the_first_user_is_an_admin,
    users_and_roles_share_their_names,
    rights_are_those_of_all_roles,
    a_role_limits_whoever_is_in_it,
    nobody_is_in_a_role_in_a_circle,
    a_grant_is_there_once_and_can_be_taken_back,
    a_dropped_principal_leaves_nothing,
    an_owner_is_not_dropped,
    the_last_admin_stays,
    grants_go_with_what_they_are_on,
    an_object_gets_another_owner_and_policy,
];

fn user(name: &str) -> User {
    let password_hash = Some("$argon2id$1".to_owned());
    User { name: name.to_owned(), password_hash, scram_verifier: None }
}

async fn add(catalog: &C, users: &[&str], roles: &[&str]) {
    for name in users {
        catalog.add_user(&user(name)).await.unwrap();
    }
    for name in roles {
        catalog.create_role(name).await.unwrap();
    }
}

fn member(role: &str, member: &str) -> Member {
    Member { role: role.to_owned(), member: member.to_owned() }
}

fn select(grantee: &str, on: Securable) -> Grant {
    Grant { grantee: grantee.to_owned(), privilege: Privilege::Select, on, column: None }
}

async fn rights(catalog: &C, name: &str) -> Rights {
    catalog.rights(name).await.unwrap().unwrap()
}

async fn the_first_user_is_an_admin(catalog: C) {
    add(&catalog, &["ada", "bob"], &[]).await;
    assert!(rights(&catalog, "ada").await.is_admin());
    assert!(!rights(&catalog, "bob").await.is_admin());
    assert_eq!(catalog.users().await.unwrap(), ["ada", "bob"]);
    assert_eq!(catalog.members().await.unwrap(), [member(ADMIN, "ada")]);
    assert_eq!(catalog.rights("eve").await.unwrap(), None);
}

async fn users_and_roles_share_their_names(catalog: C) {
    add(&catalog, &["ada"], &["sales"]).await;
    for taken in ["ada", "sales", ADMIN, PUBLIC] {
        let role = catalog.create_role(taken).await.unwrap_err();
        let user = catalog.add_user(&user(taken)).await.unwrap_err();
        for error in [role, user] {
            assert!(matches!(error, CatalogError::PrincipalExists(name) if name == taken));
        }
    }
    assert_eq!(catalog.roles().await.unwrap(), [ADMIN, PUBLIC, "sales"]);
}

async fn rights_are_those_of_all_roles(catalog: C) {
    add(&catalog, &["ada", "bob"], &["sales", "emea"]).await;
    catalog.add_member(&member("sales", "emea")).await.unwrap();
    catalog.add_member(&member("emea", "bob")).await.unwrap();
    catalog.add_member(&member("emea", "bob")).await.unwrap();
    let orders = table("orders");
    let grants = [
        select("sales", Securable::Object(orders.id)),
        select(PUBLIC, Securable::Schema("open".to_owned())),
        select("ada", Securable::Catalog),
    ];
    catalog.grant(&grants, "ada", at(1)).await.unwrap();
    let bob = rights(&catalog, "bob").await;
    assert!(bob.is_member("sales") && bob.is_member("emea") && bob.is_member(PUBLIC));
    assert!(bob.allows(Privilege::Select, &orders));
    assert!(bob.allows_in(Privilege::Select, "open"));
    assert!(!bob.allows_everywhere(Privilege::Select));
    assert!(rights(&catalog, "sales").await.allows(Privilege::Select, &orders), "of a role too");
    assert!(catalog.remove_member(&member("emea", "bob")).await.unwrap());
    assert!(!catalog.remove_member(&member("emea", "bob")).await.unwrap());
    assert!(!rights(&catalog, "bob").await.allows(Privilege::Select, &orders));
}

async fn a_role_limits_whoever_is_in_it(catalog: C) {
    add(&catalog, &["root", "ada"], &["sales", "staff"]).await;
    catalog.add_member(&member("sales", "ada")).await.unwrap();
    catalog.add_member(&member("staff", "sales")).await.unwrap();
    let limits = |rows: u64| {
        let mut limits = RoleLimits::default();
        limits.set(Limit::Rows, rows);
        limits
    };
    assert!(catalog.limits().await.unwrap().is_empty());
    catalog.set_limits("staff", &limits(5)).await.unwrap();
    catalog.set_limits(PUBLIC, &limits(9)).await.unwrap();
    let all = BTreeMap::from([("staff".to_owned(), limits(5)), (PUBLIC.to_owned(), limits(9))]);
    assert_eq!(catalog.limits().await.unwrap(), all);
    let of_ada = rights(&catalog, "ada").await;
    let (public, staff) = (limits(9), limits(5));
    assert_eq!(of_ada.limits().collect::<Vec<_>>(), [(PUBLIC, &public), ("staff", &staff)]);
    assert_eq!(rights(&catalog, "root").await.limits().count(), 0, "an admin has none");
    catalog.set_limits("staff", &RoleLimits::default()).await.unwrap();
    assert_eq!(rights(&catalog, "ada").await.limits().count(), 1);
    let error = catalog.set_limits("ada", &limits(1)).await.unwrap_err();
    assert!(matches!(error, CatalogError::RoleNotFound(name) if name == "ada"));
}

async fn nobody_is_in_a_role_in_a_circle(catalog: C) {
    add(&catalog, &[], &["a", "b", "c"]).await;
    catalog.add_member(&member("a", "b")).await.unwrap();
    catalog.add_member(&member("b", "c")).await.unwrap();
    for (role, of) in [("c", "a"), ("b", "a"), ("a", "a")] {
        let error = catalog.add_member(&member(role, of)).await.unwrap_err();
        assert!(matches!(error, CatalogError::RoleCycle { .. }), "{role} {of}");
    }
    let error = catalog.add_member(&member("d", "a")).await.unwrap_err();
    assert!(matches!(error, CatalogError::RoleNotFound(_)));
    let error = catalog.add_member(&member("a", "d")).await.unwrap_err();
    assert!(matches!(error, CatalogError::PrincipalNotFound(_)));
}

async fn a_grant_is_there_once_and_can_be_taken_back(catalog: C) {
    add(&catalog, &["ada"], &["sales"]).await;
    let orders = table("orders");
    let whole = select("sales", Securable::Object(orders.id));
    let column = Grant { column: Some("day".to_owned()), ..whole.clone() };
    catalog.grant(&[column.clone(), whole.clone()], "ada", at(1)).await.unwrap();
    catalog.grant(std::slice::from_ref(&whole), "bob", at(2)).await.unwrap();
    let given = |grant: &Grant| GivenGrant { grant: grant.clone(), by: "ada".into(), at: at(1) };
    assert_eq!(catalog.grants().await.unwrap(), [given(&whole), given(&column)]);
    assert_eq!(catalog.revoke(std::slice::from_ref(&column)).await.unwrap(), 1);
    assert_eq!(catalog.grants().await.unwrap(), [given(&whole)]);
    catalog.grant(std::slice::from_ref(&column), "ada", at(1)).await.unwrap();
    assert_eq!(catalog.revoke(std::slice::from_ref(&whole)).await.unwrap(), 2, "with its columns");
    assert_eq!(catalog.revoke(std::slice::from_ref(&whole)).await.unwrap(), 0);
    catalog.grant(std::slice::from_ref(&column), "ada", at(1)).await.unwrap();
    let some = Columns::Some(BTreeSet::from(["day".to_owned()]));
    assert_eq!(rights(&catalog, "sales").await.columns(&orders), Some(some));
    let nobody = select("eve", Securable::Catalog);
    let error = catalog.grant(&[whole, nobody], "ada", at(1)).await.unwrap_err();
    assert!(matches!(error, CatalogError::PrincipalNotFound(name) if name == "eve"));
    assert_eq!(catalog.grants().await.unwrap(), [given(&column)], "all or none");
}

async fn a_dropped_principal_leaves_nothing(catalog: C) {
    add(&catalog, &["ada", "bob"], &["sales"]).await;
    catalog.add_member(&member("sales", "bob")).await.unwrap();
    let grants = [select("sales", Securable::Catalog), select("bob", Securable::Catalog)];
    catalog.grant(&grants, "ada", at(1)).await.unwrap();
    assert!(catalog.drop_principal("bob").await.unwrap());
    assert!(catalog.drop_principal("sales").await.unwrap());
    assert!(!catalog.drop_principal("sales").await.unwrap());
    assert_eq!(catalog.rights("bob").await.unwrap(), None);
    assert_eq!(catalog.grants().await.unwrap(), []);
    add(&catalog, &["bob"], &["sales"]).await;
    assert!(!rights(&catalog, "bob").await.is_member("sales"));
    for name in [ADMIN, PUBLIC] {
        let error = catalog.drop_principal(name).await.unwrap_err();
        assert!(matches!(error, CatalogError::BuiltInRole(_)));
    }
}

async fn an_owner_is_not_dropped(catalog: C) {
    add(&catalog, &["eve", "ada"], &[]).await;
    let orders = table("orders");
    catalog.put_object(&orders, OnConflict::Fail).await.unwrap();
    assert_eq!(orders.owner, "ada");
    let error = catalog.drop_principal("ada").await.unwrap_err();
    assert!(matches!(error, CatalogError::StillOwns { objects: 1, .. }));
    assert!(catalog.user("ada").await.unwrap().is_some());
}

async fn the_last_admin_stays(catalog: C) {
    add(&catalog, &[], &["empty"]).await;
    assert!(catalog.drop_principal("empty").await.unwrap(), "no users, no admin to keep");
    add(&catalog, &["ada", "bob"], &["ops"]).await;
    let last =
        |error: CatalogError| assert!(matches!(error, CatalogError::LastAdmin(_)), "{error}");
    last(catalog.drop_principal("ada").await.unwrap_err());
    last(catalog.remove_member(&member(ADMIN, "ada")).await.unwrap_err());
    catalog.add_member(&member(ADMIN, "ops")).await.unwrap();
    last(catalog.drop_principal("ada").await.unwrap_err());
    catalog.add_member(&member("ops", "bob")).await.unwrap();
    assert!(rights(&catalog, "bob").await.is_admin());
    assert!(catalog.drop_principal("ada").await.unwrap());
    last(catalog.drop_principal("ops").await.unwrap_err());
    assert!(rights(&catalog, "bob").await.is_admin());
}

async fn grants_go_with_what_they_are_on(catalog: C) {
    add(&catalog, &["ada"], &["sales"]).await;
    let orders = table("orders");
    catalog.put_object(&orders, OnConflict::Fail).await.unwrap();
    catalog.create_schema(&Schema { name: "shop".into(), comment: None }).await.unwrap();
    let stays = select("sales", Securable::Catalog);
    let grants = [
        select("sales", Securable::Object(orders.id)),
        select("sales", Securable::Schema("shop".to_owned())),
        stays.clone(),
    ];
    catalog.grant(&grants, "ada", at(1)).await.unwrap();
    catalog.drop_object(orders.id, 1).await.unwrap();
    catalog.drop_schema("shop").await.unwrap();
    let left: Vec<_> =
        catalog.grants().await.unwrap().into_iter().map(|given| given.grant).collect();
    assert_eq!(left, [stays]);
}

async fn an_object_gets_another_owner_and_policy(catalog: C) {
    add(&catalog, &["ada", "bob"], &[]).await;
    let orders = table("orders");
    catalog.put_object(&orders, OnConflict::Fail).await.unwrap();
    catalog.set_owner(orders.id, 1, "bob").await.unwrap();
    let policy = Policy {
        row_filter: Some("day > 1".to_owned()),
        masks: BTreeMap::from([("name".to_owned(), "'***'".to_owned())]),
    };
    let error = catalog.set_policy(orders.id, 1, &policy).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectChanged(_)));
    catalog.set_policy(orders.id, 2, &policy).await.unwrap();
    let on = OnConflict::Replace { id: orders.id, definition_version: 3 };
    catalog.put_object(&orders, on).await.unwrap();
    let now = catalog.object(orders.id).await.unwrap().unwrap();
    assert_eq!((now.owner.as_str(), now.definition_version), ("bob", 4));
    assert_eq!(now.policy, policy, "a new definition keeps the policy");
    let error = catalog.set_owner(orders.id, 4, "eve").await.unwrap_err();
    assert!(matches!(error, CatalogError::PrincipalNotFound(_)));
}
