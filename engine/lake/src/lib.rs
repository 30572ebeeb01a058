//! whimbrel-lake
