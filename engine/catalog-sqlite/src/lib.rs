//! whimbrel-catalog-sqlite
