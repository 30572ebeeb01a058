//! Schemas and objects.

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    objects::{Objects, OnConflict, Put, Schema},
};
use model::{
    id::ObjectId,
    job::JobState,
    name::{DEFAULT_SCHEMA, ObjectName},
    object::{Object, Policy},
};

use crate::{
    SqlCatalog,
    body::{read_body, read_policy, read_properties, write_body, write_policy, write_properties},
    database::{Database, Transaction, row},
    grants::is_principal,
    jobs::{self, Ended},
    sql::{Sql, sql},
    value::{Row, corrupt, values},
};

macro_rules! object_columns {
    () => {
        "o.id, o.schema_name, o.name, o.body, o.comment, o.properties, o.owner, o.policy, \
         o.created_at, o.definition_version"
    };
}

#[async_trait]
impl<D: Database> Objects for SqlCatalog<D> {
    async fn schemas(&self) -> Result<Vec<Schema>, CatalogError> {
        let rows = self
            .db
            .rows(
                "list the schemas",
                sql!("SELECT name, comment FROM schemas ORDER BY name"),
                values![],
            )
            .await?;
        let schema = |mut row: Row| {
            Ok(Schema { name: row.text("schema")?, comment: row.text_opt("comment")? })
        };
        rows.into_iter().map(schema).collect()
    }

    async fn create_schema(&self, schema: &Schema) -> Result<(), CatalogError> {
        let mut tx = self.db.write("create a schema").await?;
        next_objects_version(&mut tx).await?;
        let created = row(
            &mut tx,
            sql!("INSERT INTO schemas (name, comment) VALUES ($1, $2)"
                 " ON CONFLICT (name) DO NOTHING RETURNING name"),
            values![schema.name.as_str(), schema.comment.clone()],
        )
        .await?;
        if created.is_none() {
            return Err(CatalogError::SchemaExists(schema.name.clone()));
        }
        tx.commit().await
    }

    async fn drop_schema(&self, name: &str) -> Result<(), CatalogError> {
        let mut tx = self.db.write("drop a schema").await?;
        next_objects_version(&mut tx).await?;
        check_schema(&mut tx, name).await?;
        let mut counted = row(
            &mut tx,
            sql!("SELECT count(*) FROM objects WHERE schema_name = $1"),
            values![name],
        )
        .await?
        .ok_or_else(|| corrupt("count of objects", "no answer"))?;
        let objects = counted.count("count of objects")?;
        if objects > 0 || name == DEFAULT_SCHEMA {
            return Err(CatalogError::SchemaNotEmpty { schema: name.to_owned(), objects });
        }
        tx.rows(sql!("DELETE FROM schemas WHERE name = $1"), values![name]).await?;
        forget_grants(&mut tx, "SCHEMA", name).await?;
        tx.commit().await
    }

    async fn put_object(&self, object: &Object, on: OnConflict) -> Result<Put, CatalogError> {
        let mut tx = self.db.write("store an object").await?;
        next_objects_version(&mut tx).await?;
        check_schema(&mut tx, object.name.schema()).await?;
        if let OnConflict::Replace { id, definition_version } = on {
            replace(&mut tx, object, id, definition_version).await?;
            tx.commit().await?;
            return Ok(Put::Replaced);
        }
        if insert(&mut tx, object).await? {
            tx.commit().await?;
            return Ok(Put::Created);
        }
        match on {
            // Not committed: nothing has changed, so the version stays too.
            OnConflict::Keep => Ok(Put::Kept),
            _ => Err(CatalogError::ObjectExists(object.name.clone())),
        }
    }

    async fn replace_objects(&self, objects: &[Object]) -> Result<(), CatalogError> {
        if objects.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.write("store objects").await?;
        next_objects_version(&mut tx).await?;
        for object in objects {
            replace(&mut tx, object, object.id, object.definition_version).await?;
        }
        tx.commit().await
    }

    async fn set_owner(
        &self,
        id: ObjectId,
        definition_version: i64,
        owner: &str,
    ) -> Result<(), CatalogError> {
        let mut tx = self.db.write("give an object another owner").await?;
        next_objects_version(&mut tx).await?;
        unchanged(&mut tx, id, definition_version).await?;
        if !is_principal(&mut tx, owner).await? {
            return Err(CatalogError::PrincipalNotFound(owner.to_owned()));
        }
        let sql = sql!("UPDATE objects SET owner = $2,"
            " definition_version = definition_version + 1 WHERE id = $1");
        tx.rows(sql, values![id, owner]).await?;
        tx.commit().await
    }

    async fn set_policy(
        &self,
        id: ObjectId,
        definition_version: i64,
        policy: &Policy,
    ) -> Result<(), CatalogError> {
        let mut tx = self.db.write("give an object another policy").await?;
        next_objects_version(&mut tx).await?;
        unchanged(&mut tx, id, definition_version).await?;
        let sql = sql!("UPDATE objects SET policy = $2,"
            " definition_version = definition_version + 1 WHERE id = $1");
        tx.rows(sql, values![id, write_policy(policy)?]).await?;
        tx.commit().await
    }

    async fn drop_object(&self, id: ObjectId, definition_version: i64) -> Result<(), CatalogError> {
        let mut tx = self.db.write("drop an object").await?;
        next_objects_version(&mut tx).await?;
        jobs::next_queue_seq(&mut tx, 0).await?;
        let name = unchanged(&mut tx, id, definition_version).await?;
        tx.rows(sql!("DELETE FROM objects WHERE id = $1"), values![id]).await?;
        forget_grants(&mut tx, "OBJECT", &id.to_string()).await?;
        stop_jobs(&mut tx, id, &name).await?;
        tx.commit().await
    }

    async fn objects_named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        const SQL: Sql = Sql {
            sqlite: concat!(
                "SELECT ",
                object_columns!(),
                " FROM json_each($1) n JOIN objects o \
                 ON o.schema_name = json_extract(n.value, '$[0]') \
                 AND o.name = json_extract(n.value, '$[1]') ORDER BY o.schema_name, o.name"
            ),
            postgres: concat!(
                "SELECT ",
                object_columns!(),
                " FROM json_array_elements($1::json) n JOIN objects o \
                 ON o.schema_name = n.value->>0 AND o.name = n.value->>1 \
                 ORDER BY o.schema_name, o.name"
            ),
        };
        let mut unique: Vec<_> = names.iter().collect();
        unique.sort();
        unique.dedup();
        if let [name] = unique.as_slice() {
            // For a list Postgres would read the whole table.
            let sql = sql!("SELECT " object_columns " FROM objects o"
                " WHERE o.schema_name = $1 AND o.name = $2");
            let values = values![name.schema(), name.name()];
            let rows = self.db.rows("look up an object", sql, values).await?;
            return rows.into_iter().map(read_object).collect();
        }
        let pairs: serde_json::Value =
            unique.iter().map(|name| serde_json::json!([name.schema(), name.name()])).collect();
        let rows = self.db.rows("look up objects", SQL, values![pairs.to_string()]).await?;
        rows.into_iter().map(read_object).collect()
    }

    async fn object(&self, id: ObjectId) -> Result<Option<Object>, CatalogError> {
        let rows = self
            .db
            .rows(
                "read an object",
                sql!("SELECT " object_columns " FROM objects o WHERE o.id = $1"),
                values![id],
            )
            .await?;
        rows.into_iter().next().map(read_object).transpose()
    }

    async fn objects(&self) -> Result<Vec<Object>, CatalogError> {
        let rows = self
            .db
            .rows(
                "list the objects",
                sql!("SELECT " object_columns " FROM objects o ORDER BY o.schema_name, o.name"),
                values![],
            )
            .await?;
        rows.into_iter().map(read_object).collect()
    }

    async fn objects_version(&self) -> Result<i64, CatalogError> {
        let rows = self
            .db
            .rows(
                "read the version of the objects",
                sql!("SELECT value FROM catalog_state WHERE name = 'objects_version'"),
                values![],
            )
            .await?;
        let row = rows.into_iter().next();
        row.ok_or_else(|| corrupt("version of the objects", "it is missing"))?
            .int("version of the objects")
    }
}

/// Counts a change, and makes everybody else who changes objects wait until this one is through.
pub(crate) async fn next_objects_version(tx: &mut impl Transaction) -> Result<(), CatalogError> {
    tx.rows(
        sql!("UPDATE catalog_state SET value = value + 1 WHERE name = 'objects_version'"),
        values![],
    )
    .await?;
    Ok(())
}

/// The name of an object that is still as it was read.
async fn unchanged(
    tx: &mut impl Transaction,
    id: ObjectId,
    definition_version: i64,
) -> Result<ObjectName, CatalogError> {
    let found = row(
        tx,
        sql!("SELECT schema_name, name, definition_version FROM objects WHERE id = $1"),
        values![id],
    )
    .await?;
    let Some(mut found) = found else { return Err(CatalogError::ObjectGone(id.to_string())) };
    let name = found.name("object name")?;
    if found.int("definition version")? != definition_version {
        return Err(CatalogError::ObjectChanged(name));
    }
    Ok(name)
}

async fn forget_grants(
    tx: &mut impl Transaction,
    kind: &'static str,
    id: &str,
) -> Result<(), CatalogError> {
    let sql = sql!("DELETE FROM grants WHERE on_kind = $1 AND on_id = $2");
    tx.rows(sql, values![kind, id]).await?;
    Ok(())
}

async fn check_schema(tx: &mut impl Transaction, name: &str) -> Result<(), CatalogError> {
    let found = row(tx, sql!("SELECT name FROM schemas WHERE name = $1"), values![name]).await?;
    if found.is_none() {
        return Err(CatalogError::SchemaNotFound(name.to_owned()));
    }
    Ok(())
}

/// `false` when the name is taken.
async fn insert(tx: &mut impl Transaction, object: &Object) -> Result<bool, CatalogError> {
    let sql = sql!("INSERT INTO objects (id, schema_name, name, kind, body, comment, properties,"
        " owner, created_at, definition_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (schema_name, name) DO NOTHING RETURNING id");
    let values = values![
        object.id,
        object.name.schema(),
        object.name.name(),
        object.kind().as_sql(),
        write_body(&object.body)?,
        object.comment.clone(),
        write_properties(&object.properties)?,
        object.owner.as_str(),
        object.created_at,
        object.definition_version,
    ];
    Ok(row(tx, sql, values).await?.is_some())
}

async fn replace(
    tx: &mut impl Transaction,
    object: &Object,
    id: ObjectId,
    definition_version: i64,
) -> Result<(), CatalogError> {
    let sql = sql!("UPDATE objects SET kind = $5, body = $6, comment = $7, properties = $8,"
        " definition_version = definition_version + 1"
        " WHERE id = $1 AND definition_version = $2 AND schema_name = $3 AND name = $4"
        " RETURNING id");
    let values = values![
        id,
        definition_version,
        object.name.schema(),
        object.name.name(),
        object.kind().as_sql(),
        write_body(&object.body)?,
        object.comment.clone(),
        write_properties(&object.properties)?,
    ];
    if row(tx, sql, values).await?.is_none() {
        return Err(CatalogError::ObjectChanged(object.name.clone()));
    }
    Ok(())
}

/// Ends the waiting jobs of a dropped object and asks the running ones to stop.
async fn stop_jobs(
    tx: &mut impl Transaction,
    object: ObjectId,
    name: &ObjectName,
) -> Result<(), CatalogError> {
    let open = tx
        .rows(
            sql!("SELECT j.id, j.state FROM jobs j WHERE j.object_id = $1"
                 " AND j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'AWAITING_APPROVAL')"
                 // The ranges of a BACKFILL before it, as everybody locks them.
                 " ORDER BY CASE j.kind WHEN 'BACKFILL' THEN 1 ELSE 0 END, j.id" LOCK_J),
            values![object],
        )
        .await?;
    for mut job in open {
        let id = job.parsed("job id")?;
        let state = job.parsed::<JobState>("job state")?;
        if matches!(state, JobState::Queued | JobState::AwaitingApproval) {
            let error = format!("'{name}' was dropped");
            jobs::end(tx, id, &Ended { state: JobState::Cancelled, error: Some(error), at: None })
                .await?;
        } else {
            tx.rows(sql!("UPDATE jobs SET stop_asked = 1 WHERE id = $1"), values![id]).await?;
        }
    }
    Ok(())
}

fn read_object(mut row: Row) -> Result<Object, CatalogError> {
    Ok(Object {
        id: row.parsed("object id")?,
        name: row.name("object name")?,
        body: read_body(&row.text("object body")?)?,
        comment: row.text_opt("comment")?,
        properties: read_properties(&row.text("object properties")?)?,
        owner: row.text("owner")?,
        policy: read_policy(&row.text("policy")?)?,
        created_at: row.time("time of creation")?,
        definition_version: row.int("definition version")?,
    })
}
