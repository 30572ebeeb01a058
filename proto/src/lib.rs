//! whimbrel-proto
