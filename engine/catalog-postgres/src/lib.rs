//! whimbrel-catalog-postgres
