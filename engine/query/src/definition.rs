//! What a transform means: what it reads through included.
//!
//! It exists because a transform that reads a view, or an object of which its owner sees a part only,
//! changes its meaning when that view, row filter or mask does, while its own text and the versions of
//! the tables stay what they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use catalog::{error::CatalogError, grants::Grants, objects::Lookup};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody, Policy},
    principal::is_reserved,
    rights::Rights,
    transform::Transform,
};
use sha2::{Digest, Sha256};

/// A hash that is equal for two runs of a transform when they run the same query: that of its
/// definition, with those of all views below, and with the row filters and masks between what is read
/// and `owner`, or the owner of the view that reads.
///
/// To be taken before planning: a view that changes in between then makes the next refresh
/// recompute, never skip.
pub async fn hash<O, G>(
    objects: &O,
    grants: &G,
    owner: &str,
    view: &Transform,
) -> Result<String, CatalogError>
where
    O: Lookup + ?Sized,
    G: Grants + ?Sized,
{
    let mut views: BTreeMap<ObjectName, String> = BTreeMap::new();
    let mut policies: BTreeMap<(ObjectName, String), String> = BTreeMap::new();
    let mut readers = vec![(owner.to_owned(), view.reads.clone())];
    while let Some((reader, reads)) = readers.pop() {
        for object in objects.named(&reads).await? {
            if !object.policy.is_empty()
                && let Some(shown) = shown_to(&reader, &object, grants).await?
            {
                policies.insert((object.name.clone(), reader.clone()), shown);
            }
            let ObjectBody::View(below) = object.body else { continue };
            if views.insert(object.name, below.query).is_none() {
                readers.push((object.owner, below.reads));
            }
        }
    }
    if views.is_empty() && policies.is_empty() {
        return Ok(view.definition_hash.clone());
    }
    let mut hasher = Sha256::new();
    hasher.update(view.definition_hash.as_bytes());
    let mut add = |text: &str| {
        // Lengths keep two lists of texts from running together into the same bytes.
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for (name, query) in &views {
        add(&name.to_string());
        add(query);
    }
    for ((name, reader), shown) in &policies {
        add(&name.to_string());
        add(reader);
        add(shown);
    }
    Ok(hexadecimal(&hasher.finalize()))
}

/// What a policy shows to a reader; nothing when the reader sees the object as it is.
async fn shown_to<G: Grants + ?Sized>(
    reader: &str,
    object: &Object,
    grants: &G,
) -> Result<Option<String>, CatalogError> {
    let rights = match is_reserved(reader) {
        true => Some(Rights::everything(reader)),
        // One who is gone may do nothing, which is said when the query is planned.
        false => grants.rights(reader).await?,
    };
    if rights.as_ref().is_some_and(|rights| rights.owns(object)) {
        return Ok(None);
    }
    let Policy { row_filter, masks } = &object.policy;
    // It may ask who reads, and which roles those are.
    let roles: BTreeSet<&str> = rights.iter().flat_map(Rights::roles).collect();
    Ok(Some(format!("{row_filter:?} {masks:?} {roles:?}")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
