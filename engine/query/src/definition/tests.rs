use catalog::objects::{Objects, OnConflict};
use catalog_sqlite::SqliteCatalog;
use model::{
    id::ObjectId,
    object::{Properties, View},
    time::Timestamp,
};

use super::*;

fn named(name: &str) -> ObjectName {
    ObjectName::new("main", name).unwrap()
}

async fn put_view(catalog: &SqliteCatalog, name: &str, query: &str, reads: &[&str]) {
    let existing = catalog.objects_named(&[named(name)]).await.unwrap().pop();
    let on = existing.as_ref().map_or(OnConflict::Fail, |object| OnConflict::Replace {
        id: object.id,
        definition_version: object.definition_version,
    });
    let object = Object {
        id: existing.map_or_else(ObjectId::generate, |object| object.id),
        name: named(name),
        body: ObjectBody::View(View {
            query: query.to_owned(),
            definition: format!("CREATE VIEW {name} AS {query}"),
            reads: reads.iter().map(|read| named(read)).collect(),
        }),
        comment: None,
        properties: Properties::new(),
        owner: "ada".to_owned(),
        policy: Policy::default(),
        created_at: Timestamp::from_micros(0),
        definition_version: 1,
    };
    catalog.put_object(&object, on).await.unwrap();
}

fn transform(reads: &[&str]) -> Transform {
    Transform {
        query: "SELECT 1".to_owned(),
        definition: "CREATE …".to_owned(),
        definition_hash: "own".to_owned(),
        reads: reads.iter().map(|read| named(read)).collect(),
        location: "file:///lake/t/".to_owned(),
        partitioned_by: Vec::new(),
        schedule: None,
        columns: Vec::new(),
        source_file: None,
        suspended: false,
        ..Transform::default()
    }
}

#[tokio::test]
async fn without_views_it_is_the_hash_of_the_definition() {
    let catalog = SqliteCatalog::in_memory().await.unwrap();
    assert_eq!(hash(&catalog, &catalog, "ada", &transform(&["base"])).await.unwrap(), "own");
}

#[tokio::test]
async fn a_view_anywhere_below_counts() {
    let catalog = SqliteCatalog::in_memory().await.unwrap();
    put_view(&catalog, "low", "SELECT 1", &["base"]).await;
    put_view(&catalog, "high", "SELECT * FROM main.low", &["low"]).await;
    put_view(&catalog, "other", "SELECT 3", &["base"]).await;
    let transform = transform(&["high", "base"]);
    let before = hash(&catalog, &catalog, "ada", &transform).await.unwrap();
    assert_ne!(before, "own");
    put_view(&catalog, "other", "SELECT 4", &["base"]).await;
    assert_eq!(hash(&catalog, &catalog, "ada", &transform).await.unwrap(), before);
    put_view(&catalog, "low", "SELECT 2", &["base"]).await;
    assert_ne!(hash(&catalog, &catalog, "ada", &transform).await.unwrap(), before);
}
