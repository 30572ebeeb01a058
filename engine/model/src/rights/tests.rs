use std::collections::BTreeMap;

use super::*;
use crate::{
    name::ObjectName,
    object::{ObjectBody, Table, TableFormat},
    time::Timestamp,
};

fn table(schema: &str, name: &str, owner: &str) -> Object {
    Object {
        id: ObjectId::generate(),
        name: ObjectName::new(schema, name).unwrap(),
        body: ObjectBody::Table(Table {
            location: String::new(),
            format: TableFormat::Delta,
            external: false,
            options: BTreeMap::new(),
            primary_key: Vec::new(),
            path_columns: Vec::new(),
            complete_when: None,
        }),
        comment: None,
        properties: BTreeMap::new(),
        owner: owner.to_owned(),
        policy: crate::object::Policy::default(),
        created_at: Timestamp::from_micros(0),
        definition_version: 1,
    }
}

fn grant(privilege: Privilege, on: Securable) -> Grant {
    Grant { grantee: "ann".to_owned(), privilege, on, column: None }
}

fn ann(grants: Vec<Grant>) -> Rights {
    Rights::new("ann", BTreeSet::from(["sales".to_owned()]), grants)
}

#[test]
fn a_grant_holds_where_it_was_given_and_below() {
    let (orders, other) = (table("shop", "orders", "bob"), table("hr", "people", "bob"));
    for (on, in_shop, in_hr) in [
        (Securable::Catalog, true, true),
        (Securable::Schema("shop".to_owned()), true, false),
        (Securable::Object(orders.id), true, false),
    ] {
        let rights = ann(vec![grant(Privilege::Select, on.clone())]);
        assert_eq!(rights.allows(Privilege::Select, &orders), in_shop, "{on:?}");
        assert_eq!(rights.allows(Privilege::Select, &other), in_hr, "{on:?}");
        assert!(!rights.allows(Privilege::Insert, &orders), "{on:?}");
        assert_eq!(rights.sees(&other), in_hr, "{on:?}");
    }
}

#[test]
fn a_role_for_now_adds_what_it_may_and_owns() {
    let (orders, people) = (table("shop", "orders", "bob"), table("hr", "people", "hr"));
    let own = ann(vec![grant(Privilege::Insert, Securable::Object(orders.id))]);
    let select = Grant { grantee: "hr".to_owned(), ..grant(Privilege::Select, Securable::Catalog) };
    let hr = Rights::new("hr", BTreeSet::from(["staff".to_owned()]), vec![select]);
    let rights = own.clone().with(hr);
    assert_eq!((rights.name(), rights.is_admin()), ("ann", false));
    assert!(rights.allows(Privilege::Insert, &orders) && rights.allows(Privilege::Select, &orders));
    assert!(rights.owns(&people) && rights.is_member("staff") && !rights.owns(&orders));
    assert!(!own.sees(&people));
    let admin = Rights::new(ADMIN, BTreeSet::new(), Vec::new());
    assert!(own.with(admin).is_admin());
}

#[test]
fn owners_and_members_of_the_role_that_owns_need_no_grant() {
    let rights = ann(Vec::new());
    for (owner, owns) in [("ann", true), ("sales", true), ("bob", false), ("public", true)] {
        let object = table("shop", "orders", owner);
        assert_eq!(rights.owns(&object), owns, "{owner}");
        assert_eq!(rights.allows(Privilege::Delete, &object), owns, "{owner}");
    }
}

/// A user could not take the name; that it is refused here too costs nothing.
#[test]
fn nobody_owns_what_the_server_owns() {
    let rights = Rights::new("anonymous", BTreeSet::new(), Vec::new());
    assert!(!rights.owns(&table("shop", "orders", "anonymous")));
}

#[test]
fn some_columns_are_not_the_table() {
    let orders = table("shop", "orders", "bob");
    let column = Grant {
        column: Some("day".to_owned()),
        ..grant(Privilege::Select, Securable::Object(orders.id))
    };
    let rights = ann(vec![column]);
    assert!(!rights.allows(Privilege::Select, &orders));
    assert!(rights.sees(&orders));
    let some = Columns::Some(BTreeSet::from(["day".to_owned()]));
    assert_eq!(rights.columns(&orders), Some(some));
    assert_eq!(rights.columns(&table("shop", "orders", "bob")), None);
}

#[test]
fn admins_may_do_everything() {
    let rights = Rights::new("ann", BTreeSet::from([ADMIN.to_owned()]), Vec::new());
    assert!(rights.owns(&table("shop", "orders", "anonymous")));
    assert!(rights.allows_everywhere(Privilege::WriteFiles));
}

#[test]
fn what_concerns_files_and_creation_shows_no_table() {
    let files = ann(vec![grant(Privilege::ReadFiles, Securable::Catalog)]);
    assert!(!files.sees(&table("shop", "orders", "bob")));
    let create = ann(vec![grant(Privilege::Create, Securable::Schema("shop".to_owned()))]);
    assert!(!create.sees(&table("shop", "orders", "bob")));
}

#[test]
fn each_privilege_is_read_back_from_its_words() {
    for privilege in Privilege::ALL {
        assert_eq!(privilege.as_sql().parse(), Ok(privilege));
    }
    assert!("EVERYTHING".parse::<Privilege>().is_err());
}
