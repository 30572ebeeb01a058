//! What a transform means, views included.
//!
//! It exists because a transform that reads a view changes its meaning when the view does, while
//! its own text and the versions of the tables stay what they were.

use std::{collections::BTreeMap, fmt::Write};

use catalog::{error::CatalogError, objects::Lookup};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody},
    transform::Transform,
};
use sha2::{Digest, Sha256};

/// A hash that is equal for two runs of a transform when they run the same query: that of its
/// definition, with those of all views below when it reads any.
///
/// To be taken before planning: a view that changes in between then makes the next refresh
/// recompute, never skip.
pub async fn hash<O: Lookup + ?Sized>(
    objects: &O,
    view: &Transform,
) -> Result<String, CatalogError> {
    let mut views: BTreeMap<ObjectName, String> = BTreeMap::new();
    let mut level: Vec<ObjectName> = view.reads.clone();
    while !level.is_empty() {
        let found = objects.named(&level).await?;
        level = Vec::new();
        for Object { name, body, .. } in found {
            let ObjectBody::View(below) = body else { continue };
            if views.insert(name, below.query).is_none() {
                level.extend(below.reads.into_iter().filter(|read| !views.contains_key(read)));
            }
        }
    }
    if views.is_empty() {
        return Ok(view.definition_hash.clone());
    }
    let mut hasher = Sha256::new();
    hasher.update(view.definition_hash.as_bytes());
    for (name, query) in &views {
        // Lengths keep two lists of texts from running together into the same bytes.
        hasher.update((name.to_string().len() as u64).to_le_bytes());
        hasher.update(name.to_string().as_bytes());
        hasher.update((query.len() as u64).to_le_bytes());
        hasher.update(query.as_bytes());
    }
    Ok(hexadecimal(&hasher.finalize()))
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
