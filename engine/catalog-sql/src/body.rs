//! The stored form of an object's body, JSON in an envelope that names its version, and of a job's
//! arguments.

use catalog::error::CatalogError;
use model::{
    object::{ObjectBody, Policy, Properties},
    work::{JobKind, Work},
};
use serde::{Deserialize, Serialize};

use crate::value::corrupt;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Write<'a> {
    v: u32,
    #[serde(flatten)]
    body: &'a ObjectBody,
}

#[derive(Deserialize)]
struct Envelope {
    v: u32,
}

/// The body as it is stored.
pub(crate) fn write_body(body: &ObjectBody) -> Result<String, CatalogError> {
    serde_json::to_string(&Write { v: VERSION, body }).map_err(|e| corrupt("object body", e))
}

/// Reads what [`write_body`] wrote, in this version of the program or an earlier one.
pub(crate) fn read_body(text: &str) -> Result<ObjectBody, CatalogError> {
    let Envelope { v } = serde_json::from_str(text).map_err(|e| corrupt("object body", e))?;
    match v {
        VERSION => serde_json::from_str(text).map_err(|e| corrupt("object body", e)),
        newer => Err(corrupt(
            "object body",
            format!("it has version {newer}, this program reads version {VERSION}"),
        )),
    }
}

pub(crate) fn write_properties(properties: &Properties) -> Result<String, CatalogError> {
    serde_json::to_string(properties).map_err(|e| corrupt("object properties", e))
}

pub(crate) fn read_properties(text: &str) -> Result<Properties, CatalogError> {
    serde_json::from_str(text).map_err(|e| corrupt("object properties", e))
}

pub(crate) fn write_policy(policy: &Policy) -> Result<String, CatalogError> {
    serde_json::to_string(policy).map_err(|e| corrupt("policy", e))
}

pub(crate) fn read_policy(text: &str) -> Result<Policy, CatalogError> {
    serde_json::from_str(text).map_err(|e| corrupt("policy", e))
}

/// The arguments of a job as they are stored, beside its kind.
pub(crate) fn write_arguments(work: &Work) -> Result<String, CatalogError> {
    let text = match work {
        Work::Refresh => Ok("{}".to_owned()),
        Work::At(arguments) => serde_json::to_string(arguments),
        Work::Part(arguments) => serde_json::to_string(arguments),
        Work::Backfill(arguments) => serde_json::to_string(arguments),
        Work::Optimize(arguments) => serde_json::to_string(arguments),
        Work::Vacuum(arguments) => serde_json::to_string(arguments),
        Work::Release(arguments) => serde_json::to_string(arguments),
    };
    text.map_err(|e| corrupt("arguments of a job", e))
}

/// Reads what [`write_arguments`] wrote, in this version of the program or an earlier one.
pub(crate) fn read_work(kind: JobKind, arguments: &str) -> Result<Work, CatalogError> {
    let work = match kind {
        JobKind::Refresh if arguments == "{}" => Ok(Work::Refresh),
        JobKind::Refresh => match serde_json::from_str(arguments) {
            Ok(at) => Ok(Work::At(at)),
            Err(_) => serde_json::from_str(arguments).map(Work::Part),
        },
        JobKind::Backfill => serde_json::from_str(arguments).map(Work::Backfill),
        JobKind::Optimize => serde_json::from_str(arguments).map(Work::Optimize),
        JobKind::Vacuum => serde_json::from_str(arguments).map(Work::Vacuum),
        JobKind::Release => serde_json::from_str(arguments).map(Work::Release),
    };
    work.map_err(|e| corrupt("arguments of a job", e))
}

#[cfg(test)]
mod tests;
