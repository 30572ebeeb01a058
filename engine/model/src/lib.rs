//! The words of Whimbrel as types: names, ids, table and transform definitions, jobs, schedules.
//!
//! It exists so that every other crate agrees on them. It never does IO, never awaits and never
//! reads a clock: time comes in as an argument.

pub mod approval;
pub mod audit;
pub mod clustering;
pub mod code;
pub mod folders;
pub mod id;
pub mod job;
pub mod limits;
pub mod moves;
pub mod name;
pub mod notification;
pub mod object;
pub mod principal;
pub mod profile;
pub mod quantity;
pub mod report;
pub mod rights;
pub mod schedule;
pub mod secret;
pub mod time;
pub mod transform;
pub mod work;
