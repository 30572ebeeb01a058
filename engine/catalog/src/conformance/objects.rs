//! Schemas and objects.

use std::sync::Arc;

use model::{
    id::ObjectId,
    job::JobState,
    name::ObjectName,
    object::{ObjectBody, View},
};

use super::{
    fixture::{C, at, claim, job, name, object, queued, stored, table, transform, try_claim},
    suite,
};
use crate::{
    error::CatalogError,
    jobs::JobFilter,
    objects::{OnConflict, Put, Schema},
};

suite![
    the_default_schema_is_always_there,
    schemas_are_listed_by_name,
    a_schema_is_created_once,
    a_schema_with_objects_is_not_dropped,
    the_default_schema_is_not_dropped,
    an_empty_schema_is_dropped,
    every_kind_of_object_comes_back_as_it_was_stored,
    an_object_needs_its_schema,
    a_taken_name_is_refused_or_kept_as_asked,
    a_replaced_object_keeps_id_owner_and_creation_time,
    an_object_that_was_changed_meanwhile_is_not_replaced,
    several_objects_are_replaced_all_or_none,
    objects_are_listed_by_schema_and_name_in_byte_order,
    only_named_objects_that_exist_are_answered,
    names_with_quotes_and_dots_are_told_apart,
    an_object_is_dropped_at_the_version_that_was_read,
    dropping_an_object_cancels_its_waiting_jobs_and_keeps_the_record,
    dropping_an_object_asks_its_running_job_to_stop,
    a_name_that_was_dropped_can_be_used_again,
    the_version_grows_with_every_change_and_with_nothing_else,
    of_many_who_create_one_name_one_succeeds,
];

fn schema(name: &str) -> Schema {
    Schema { name: name.to_owned(), comment: Some(format!("about {name}")) }
}

fn replacing(id: ObjectId, definition_version: i64) -> OnConflict {
    OnConflict::Replace { id, definition_version }
}

async fn the_default_schema_is_always_there(catalog: C) {
    let schemas = catalog.schemas().await.unwrap();
    assert_eq!(schemas, [Schema { name: "main".to_owned(), comment: None }]);
}

async fn schemas_are_listed_by_name(catalog: C) {
    for name in ["zoo", "art"] {
        catalog.create_schema(&schema(name)).await.unwrap();
    }
    let main = Schema { name: "main".to_owned(), comment: None };
    assert_eq!(catalog.schemas().await.unwrap(), [schema("art"), main, schema("zoo")]);
}

async fn a_schema_is_created_once(catalog: C) {
    catalog.create_schema(&schema("art")).await.unwrap();
    let error = catalog.create_schema(&schema("art")).await.unwrap_err();
    assert!(matches!(error, CatalogError::SchemaExists(name) if name == "art"));
}

async fn a_schema_with_objects_is_not_dropped(catalog: C) {
    catalog.create_schema(&schema("art")).await.unwrap();
    let name = ObjectName::new("art", "a").unwrap();
    let stored = object(name, table("a").body);
    catalog.put_object(&stored, OnConflict::Fail).await.unwrap();
    let error = catalog.drop_schema("art").await.unwrap_err();
    assert!(
        matches!(&error, CatalogError::SchemaNotEmpty { schema, objects: 1 } if schema == "art"),
        "{error:?}"
    );
}

async fn the_default_schema_is_not_dropped(catalog: C) {
    let error = catalog.drop_schema("main").await.unwrap_err();
    assert!(matches!(error, CatalogError::SchemaNotEmpty { .. }), "{error:?}");
}

async fn an_empty_schema_is_dropped(catalog: C) {
    catalog.create_schema(&schema("art")).await.unwrap();
    catalog.drop_schema("art").await.unwrap();
    assert_eq!(catalog.schemas().await.unwrap().len(), 1);
    let error = catalog.drop_schema("art").await.unwrap_err();
    assert!(matches!(error, CatalogError::SchemaNotFound(name) if name == "art"));
}

async fn every_kind_of_object_comes_back_as_it_was_stored(catalog: C) {
    let view = View {
        query: "SELECT 'ü' FROM main.a".to_owned(),
        definition: "CREATE VIEW v AS SELECT 'ü' FROM a".to_owned(),
        reads: vec![name("a")],
    };
    let plain = model::object::Object {
        comment: None,
        properties: Default::default(),
        ..object(name("v"), ObjectBody::View(view))
    };
    for object in [table("a"), transform("m"), plain] {
        assert_eq!(catalog.put_object(&object, OnConflict::Fail).await.unwrap(), Put::Created);
        assert_eq!(catalog.object(object.id).await.unwrap(), Some(object));
    }
    assert_eq!(catalog.object(ObjectId::generate()).await.unwrap(), None);
}

async fn an_object_needs_its_schema(catalog: C) {
    let object = object(ObjectName::new("nowhere", "a").unwrap(), table("a").body);
    let error = catalog.put_object(&object, OnConflict::Fail).await.unwrap_err();
    assert!(matches!(error, CatalogError::SchemaNotFound(name) if name == "nowhere"));
}

async fn a_taken_name_is_refused_or_kept_as_asked(catalog: C) {
    let first = table("a");
    assert_eq!(catalog.put_object(&first, OnConflict::Keep).await.unwrap(), Put::Created);
    let second = transform("a");
    let error = catalog.put_object(&second, OnConflict::Fail).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectExists(taken) if taken == name("a")));
    assert_eq!(catalog.put_object(&second, OnConflict::Keep).await.unwrap(), Put::Kept);
    assert_eq!(catalog.objects().await.unwrap(), [first]);
}

async fn a_replaced_object_keeps_id_owner_and_creation_time(catalog: C) {
    let first = table("a");
    catalog.put_object(&first, OnConflict::Fail).await.unwrap();
    let mut second = transform("a");
    second.owner = "eve".to_owned();
    second.created_at = at(99);
    second.comment = None;
    let put = catalog.put_object(&second, replacing(first.id, 1)).await.unwrap();
    assert_eq!(put, Put::Replaced);
    let expected = model::object::Object {
        id: first.id,
        owner: first.owner,
        created_at: first.created_at,
        definition_version: 2,
        ..second
    };
    assert_eq!(catalog.objects().await.unwrap(), [expected]);
}

async fn an_object_that_was_changed_meanwhile_is_not_replaced(catalog: C) {
    let first = table("a");
    catalog.put_object(&first, OnConflict::Fail).await.unwrap();
    catalog.put_object(&transform("a"), replacing(first.id, 1)).await.unwrap();
    let before = catalog.objects().await.unwrap();
    for stale in [replacing(first.id, 1), replacing(ObjectId::generate(), 2)] {
        let error = catalog.put_object(&table("a"), stale).await.unwrap_err();
        assert!(matches!(error, CatalogError::ObjectChanged(changed) if changed == name("a")));
    }
    assert_eq!(catalog.objects().await.unwrap(), before);
}

async fn several_objects_are_replaced_all_or_none(catalog: C) {
    let mut objects = vec![transform("a"), transform("b"), transform("c")];
    for object in &objects {
        catalog.put_object(object, OnConflict::Fail).await.unwrap();
    }
    let version = catalog.objects_version().await.unwrap();
    catalog.replace_objects(&[]).await.unwrap();
    assert_eq!(catalog.objects_version().await.unwrap(), version, "nothing changed");
    for object in &mut objects {
        let ObjectBody::MaterializedView(view) = &mut object.body else { unreachable!() };
        view.suspended = true;
    }
    // The last one is not as it was read.
    catalog.put_object(&transform("c"), replacing(objects[2].id, 1)).await.unwrap();
    let before = catalog.objects().await.unwrap();
    let error = catalog.replace_objects(&objects).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectChanged(changed) if changed == name("c")));
    assert_eq!(catalog.objects().await.unwrap(), before);
    objects[2].definition_version = 2;
    catalog.replace_objects(&objects).await.unwrap();
    let now = catalog.objects().await.unwrap();
    let versions: Vec<_> = now.iter().map(|object| object.definition_version).collect();
    assert_eq!(versions, [2, 2, 3]);
    assert!(now.iter().all(|object| object.transform().is_some_and(|view| view.suspended)));
}

async fn objects_are_listed_by_schema_and_name_in_byte_order(catalog: C) {
    catalog.create_schema(&schema("B")).await.unwrap();
    let names = [("B", "x"), ("main", "A"), ("main", "Z"), ("main", "_a"), ("main", "a")];
    for (schema, name) in names.iter().rev() {
        let object = object(ObjectName::new(*schema, *name).unwrap(), table("a").body);
        catalog.put_object(&object, OnConflict::Fail).await.unwrap();
    }
    let listed = catalog.objects().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|o| (o.name.schema(), o.name.name())).collect();
    assert_eq!(listed, names);
}

async fn only_named_objects_that_exist_are_answered(catalog: C) {
    for of in ["a", "b", "c"] {
        stored(&catalog, of).await;
    }
    let asked = [name("c"), name("missing"), name("a"), name("a")];
    let found = catalog.objects_named(&asked).await.unwrap();
    let mut names: Vec<_> = found.into_iter().map(|object| object.name).collect();
    names.sort();
    assert_eq!(names, [name("a"), name("c")]);
    assert!(catalog.objects_named(&[]).await.unwrap().is_empty());
}

async fn names_with_quotes_and_dots_are_told_apart(catalog: C) {
    let names = ["a.b", "a\"b", "a'b", "a%", "a$1", "ä"];
    for of in names {
        stored(&catalog, of).await;
    }
    for of in names {
        let found = catalog.objects_named(&[name(of)]).await.unwrap();
        assert_eq!(found.len(), 1, "{of}");
        assert_eq!(found[0].name, name(of));
    }
}

async fn an_object_is_dropped_at_the_version_that_was_read(catalog: C) {
    let id = stored(&catalog, "a").await;
    let error = catalog.drop_object(id, 2).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectChanged(changed) if changed == name("a")));
    catalog.drop_object(id, 1).await.unwrap();
    assert_eq!(catalog.object(id).await.unwrap(), None);
    let error = catalog.drop_object(id, 1).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectGone(_)), "{error:?}");
}

async fn dropping_an_object_cancels_its_waiting_jobs_and_keeps_the_record(catalog: C) {
    let waiting = queued(&catalog, "a", &[]).await;
    catalog.drop_object(waiting.object, 1).await.unwrap();
    let after = job(&catalog, waiting.id).await;
    assert_eq!(after.state, JobState::Cancelled);
    assert_eq!(after.object_name, name("a"));
    assert_eq!(after.error.as_deref(), Some("'main.a' was dropped"));
    assert!(try_claim(&catalog, at(1)).await.is_none());
    let filter = JobFilter { object: Some(waiting.object), ..JobFilter::default() };
    assert_eq!(catalog.jobs(&filter).await.unwrap(), [after]);
}

async fn dropping_an_object_asks_its_running_job_to_stop(catalog: C) {
    use super::fixture::{LEASE, progress};
    use model::job::LeaseState;
    let running = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.drop_object(running.object, 1).await.unwrap();
    let answer = catalog
        .heartbeat(&claimed.lease, JobState::Committing, &progress(1), at(2), LEASE)
        .await
        .unwrap();
    assert_eq!(answer, LeaseState::StopAsked);
    assert_eq!(job(&catalog, running.id).await.state, JobState::Planning);
}

async fn a_name_that_was_dropped_can_be_used_again(catalog: C) {
    let first = stored(&catalog, "a").await;
    catalog.drop_object(first, 1).await.unwrap();
    let second = stored(&catalog, "a").await;
    let found = catalog.objects_named(&[name("a")]).await.unwrap();
    assert_eq!(found[0].id, second);
}

async fn the_version_grows_with_every_change_and_with_nothing_else(catalog: C) {
    let mut last = catalog.objects_version().await.unwrap();
    let mut grew = async |catalog: &C| {
        let before = last;
        last = catalog.objects_version().await.unwrap();
        last > before
    };
    let a = table("a");
    catalog.put_object(&a, OnConflict::Fail).await.unwrap();
    assert!(grew(&catalog).await, "create");
    catalog.put_object(&a, replacing(a.id, 1)).await.unwrap();
    assert!(grew(&catalog).await, "replace");
    catalog.put_object(&table("a"), OnConflict::Keep).await.unwrap();
    catalog.put_object(&table("a"), OnConflict::Fail).await.unwrap_err();
    catalog.drop_object(a.id, 1).await.unwrap_err();
    catalog.drop_schema("nowhere").await.unwrap_err();
    assert!(!grew(&catalog).await, "nothing changed");
    catalog.drop_object(a.id, 2).await.unwrap();
    assert!(grew(&catalog).await, "drop");
    catalog.create_schema(&schema("art")).await.unwrap();
    assert!(grew(&catalog).await, "create schema");
    catalog.drop_schema("art").await.unwrap();
    assert!(grew(&catalog).await, "drop schema");
}

async fn of_many_who_create_one_name_one_succeeds(catalog: C) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                match catalog.put_object(&table("a"), OnConflict::Fail).await {
                    Ok(put) => {
                        assert_eq!(put, Put::Created);
                        1
                    }
                    Err(CatalogError::ObjectExists(_)) => 0,
                    Err(other) => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.unwrap();
    }
    assert_eq!(created, 1);
}
