//! What the `shop` command knows of the whole system: who hears what, and the files that are made from it.

pub mod choreography;
pub mod generate;
