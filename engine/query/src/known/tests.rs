use catalog::objects::{Objects, OnConflict};
use catalog_sqlite::SqliteCatalog;
use model::{
    object::{ObjectBody, Policy, Properties, View},
    time::Timestamp,
};

use super::*;

/// A catalog with a view of that name, and its id.
async fn with_view(name: &str) -> (Arc<SqliteCatalog>, Object) {
    let catalog = Arc::new(SqliteCatalog::in_memory().await.unwrap());
    let object = Object {
        id: ObjectId::generate(),
        name: ObjectName::new("main", name).unwrap(),
        body: ObjectBody::View(View {
            query: "SELECT 1 AS a".to_owned(),
            definition: format!("CREATE VIEW {name} AS SELECT 1 AS a"),
            reads: Vec::new(),
        }),
        comment: None,
        properties: Properties::new(),
        owner: "ada".to_owned(),
        policy: Policy::default(),
        created_at: Timestamp::from_micros(0),
        definition_version: 1,
    };
    catalog.put_object(&object, OnConflict::Fail).await.unwrap();
    (catalog, object)
}

/// Another definition of an object.
async fn redefine(catalog: &SqliteCatalog, object: &Object) -> Object {
    let body = ObjectBody::View(View {
        query: "SELECT 2 AS a".to_owned(),
        definition: "CREATE VIEW v AS SELECT 2 AS a".to_owned(),
        reads: Vec::new(),
    });
    let other = Object { body, ..object.clone() };
    let (id, definition_version) = (object.id, object.definition_version);
    let on = OnConflict::Replace { id, definition_version };
    catalog.put_object(&other, on).await.unwrap();
    catalog.object(id).await.unwrap().unwrap()
}

fn known(catalog: &Arc<SqliteCatalog>, memory: &Arc<Mutex<Memory>>, version: i64) -> Known {
    let (catalog, memory) = (Arc::clone(catalog) as Arc<dyn Catalog>, Arc::clone(memory));
    Known::new(catalog, memory, version)
}

#[tokio::test]
async fn what_was_looked_up_is_not_looked_up_again_while_no_object_is_another() {
    let (catalog, object) = with_view("v").await;
    let memory = Arc::default();
    let version = catalog.objects_version().await.unwrap();
    let names = [object.name.clone(), ObjectName::new("main", "missing").unwrap()];
    let first = known(&catalog, &memory, version);
    assert_eq!(first.named(&names).await.unwrap(), std::slice::from_ref(&object));
    // The answer is that of this version, so it came from memory.
    redefine(&catalog, &object).await;
    let second = known(&catalog, &memory, version);
    assert_eq!(second.named(&names[..1]).await.unwrap(), std::slice::from_ref(&object));
    assert_eq!(second.with_id(object.id).await.unwrap(), Some(object));
}

#[tokio::test]
async fn of_another_version_nothing_is_known() {
    let (catalog, object) = with_view("v").await;
    let memory = Arc::default();
    let version = catalog.objects_version().await.unwrap();
    let before = known(&catalog, &memory, version);
    before.with_id(object.id).await.unwrap();
    let other = redefine(&catalog, &object).await;
    let now = catalog.objects_version().await.unwrap();
    assert!(now > version);
    let after = known(&catalog, &memory, now);
    assert_eq!(after.with_id(object.id).await.unwrap().as_ref(), Some(&other));
    // Who knows an older version asks, and takes nothing from those that know a newer one.
    let asked = before.named(std::slice::from_ref(&object.name)).await.unwrap();
    assert_eq!(asked, std::slice::from_ref(&other));
    // A database that was put back has older numbers once more.
    let back = known(&catalog, &memory, version);
    assert_eq!(back.with_id(object.id).await.unwrap(), Some(other));
}
