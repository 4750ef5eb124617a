//! What the `sagactl` command generates.

pub mod choreography;
pub mod database;
pub mod generate;
