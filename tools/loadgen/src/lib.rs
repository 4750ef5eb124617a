//! The load generator, and what it measures.

pub mod percentile;
