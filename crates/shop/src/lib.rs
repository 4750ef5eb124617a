//! What the `shop` command knows of the whole system: who hears what, the files that are
//! made from it, what must be true of it all, and what it stands on.

pub mod audit;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod choreography;
pub mod doctor;
pub mod generate;
pub mod percentile;
