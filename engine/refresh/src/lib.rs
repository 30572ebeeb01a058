//! whimbrel-refresh
