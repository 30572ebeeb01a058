//! SUSPEND FOLDER and RESUME FOLDER: all transforms that a folder of `.sql` files declares.
//!
//! What is in a folder is told by the files that declare transforms, as `plan` and `apply` have kept
//! them: paths within the folder that was applied, which is '.' itself. All of them change or none.

use std::collections::BTreeSet;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use dialect::statement::FolderAction;
use model::{
    object::{Object, ObjectBody},
    rights::Rights,
    transform::{SuspendedReason, Transform},
};

use crate::{
    answer::{Answer, count},
    authorize::{denied, not_owned},
    error::QueryError,
    queries::{CommandResult, Queries},
    session::Session,
};

/// Folders that an error names.
const SHOWN: usize = 5;

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    action: FolderAction,
    folder: &str,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let catalog = &inner.options.catalog;
    let within = parts(folder);
    let rights = inner.rights(session.principal()).await?;
    let mut objects = catalog.objects().await?;
    let files = files(&objects, &rights);
    objects.retain(|object| declared_in(object, &within));
    // Where somebody may know of none there is no such folder.
    if !objects.iter().any(|object| rights.sees(object)) {
        return Err(no_such_folder(folder, &within, &files));
    }
    for object in &objects {
        if !rights.sees(object) {
            let what =
                format!("{} all of folder '{folder}': it may not know all of it", action.as_sql());
            return Err(denied(&rights, &what, "an admin may"));
        }
        if !rights.owns(object) {
            return Err(not_owned(&rights, object));
        }
    }
    let in_folder = objects.len();
    objects.retain_mut(|object| becomes(object, action));
    catalog.replace_objects(&objects).await?;
    inner.options.wake.notify_one();
    Ok(CommandResult::rows(answer(&[(folder, in_folder, objects.len())])))
}

/// The columns of the answer.
pub(crate) fn answer_schema() -> SchemaRef {
    answer(&[]).schema()
}

/// The folder, how many transforms it declares, and how many of them were not so before.
fn answer(lines: &[(&str, usize, usize)]) -> RecordBatch {
    Answer::new()
        .text("folder", lines.iter().map(|(folder, ..)| *folder))
        .number("transforms", lines.iter().map(|(_, all, _)| count(*all as u64)))
        .number("changed", lines.iter().map(|(.., changed)| count(*changed as u64)))
        .finish()
}

/// The names on the way to a folder or a file; none for the folder that was applied.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// Whether a file within a folder declares a transform. One whose file is gone from there was
/// suspended by that, and is the folder's no longer.
fn declared_in(object: &Object, within: &[&str]) -> bool {
    let Some(transform) = object.transform() else { return false };
    if transform.suspended_reason == Some(SuspendedReason::NotDeclared) {
        return false;
    }
    let Some(file) = &transform.source_file else { return false };
    let file = parts(file);
    file.len() > within.len() && file.starts_with(within)
}

/// Makes a transform what it is to be; whether it was something else.
fn becomes(object: &mut Object, action: FolderAction) -> bool {
    let (ObjectBody::MaterializedView(transform) | ObjectBody::StreamingTable(transform)) =
        &mut object.body
    else {
        return false;
    };
    let Transform { suspended, suspended_reason, .. } = transform;
    match action {
        FolderAction::Suspend if !*suspended => {
            (*suspended, *suspended_reason) = (true, Some(SuspendedReason::Statement));
        }
        FolderAction::Resume if *suspended => (*suspended, *suspended_reason) = (false, None),
        FolderAction::Suspend | FolderAction::Resume => return false,
    }
    true
}

/// The files that declare what somebody may know of.
fn files(objects: &[Object], rights: &Rights) -> BTreeSet<String> {
    let known = objects.iter().filter(|object| declared_in(object, &[]) && rights.sees(object));
    known.filter_map(|object| object.transform()?.source_file.clone()).collect()
}

fn no_such_folder(folder: &str, within: &[&str], files: &BTreeSet<String>) -> QueryError {
    let problem = format!("no file of a folder '{folder}' declares a transform");
    if files.is_empty() {
        let hint = "folders are applied by `whimbrel apply` or refresh.transforms; what was created by a \
                    statement is suspended by its name";
        return QueryError::Refused { problem, hint: hint.to_owned() };
    }
    if files.iter().any(|file| parts(file) == within) {
        let hint = "that is a file: name its folder, or each transform of it".to_owned();
        return QueryError::Refused { problem, hint };
    }
    let folders: BTreeSet<String> = files.iter().map(|file| folder_of(file)).collect();
    let shown: Vec<_> = folders.iter().take(SHOWN).map(|folder| format!("'{folder}'")).collect();
    let hint = format!(
        "'.' is the folder that was applied, and others are below it: there is {}; \
         system.transforms shows each file in source_file",
        shown.join(", ")
    );
    QueryError::Refused { problem, hint }
}

/// The folder of a file.
fn folder_of(file: &str) -> String {
    match parts(file).split_last() {
        Some((_, [])) | None => ".".to_owned(),
        Some((_, folders)) => folders.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_what_is_below_it() {
        for (folder, file, is_in) in [
            (".", "a.sql", true),
            ("", "b/a.sql", true),
            ("./", "a.sql", true),
            ("/", "a.sql", true),
            ("b", "b/a.sql", true),
            ("./b/", "b/c/a.sql", true),
            ("b/c", "b/c/a.sql", true),
            ("b", "a.sql", false),
            ("b", "bb/a.sql", false),
            ("b/c", "b/a.sql", false),
            ("b/a.sql", "b/a.sql", false),
            ("..", "a.sql", false),
            ("B", "b/a.sql", false),
        ] {
            let mut object = declared_by(file);
            assert_eq!(declared_in(&object, &parts(folder)), is_in, "{folder} {file}");
            assert!(becomes(&mut object, FolderAction::Suspend));
            assert!(!becomes(&mut object, FolderAction::Suspend), "it is already");
            assert_eq!(declared_in(&object, &parts(folder)), is_in, "{folder} {file}");
        }
        assert_eq!((folder_of("a.sql"), folder_of("./b/c/a.sql")), (".".into(), "b/c".into()));
    }

    #[test]
    fn what_a_folder_declares_no_longer_is_not_resumed_with_it() {
        let mut object = declared_by("a.sql");
        let ObjectBody::MaterializedView(view) = &mut object.body else { panic!() };
        view.suspended = true;
        view.suspended_reason = Some(SuspendedReason::NotDeclared);
        assert!(!declared_in(&object, &[]));
    }

    fn declared_by(file: &str) -> Object {
        let view = Transform { source_file: Some(file.to_owned()), ..Transform::default() };
        Object {
            id: model::id::ObjectId::generate(),
            name: model::name::ObjectName::new("main", "v").unwrap(),
            body: ObjectBody::MaterializedView(view),
            comment: None,
            properties: model::object::Properties::new(),
            owner: "ada".to_owned(),
            policy: model::object::Policy::default(),
            created_at: model::time::Timestamp::from_micros(0),
            definition_version: 1,
        }
    }
}
