//! The load generator: orders at a given rate, whether or not the system keeps up (open loop).
//!
//! Who measures chooses a [`Catalogue`], a source of orders ([`uniform`] or [`mixed`]) and a rate, and gets a
//! [`LoadResult`]. What became of the accepted orders is for the caller to find out.

mod customers;
mod drive;
mod orders;
mod percentile;

pub use customers::{Customers, answer};
pub use drive::{Accepted, LoadResult, drive, rate};
pub use orders::{Catalogue, PlaceOrder, mixed, order_body, uniform};
pub use percentile::percentile;
