//! What the `sagactl` command generates.

pub mod choreography;
pub mod generate;
