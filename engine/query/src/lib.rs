//! whimbrel-query
