//! What the `sagactl` command generates.

pub mod database;
pub mod generate;
