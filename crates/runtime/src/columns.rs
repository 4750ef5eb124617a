//! Columns of tables: what `unnest` takes, and texts as the values that they stand for.

use std::{fmt::Display, str::FromStr};

/// One column of the rows, for a statement that inserts or updates them all by `unnest`.
pub fn column<R: IntoIterator, T>(rows: R, value: impl FnMut(R::Item) -> T) -> Vec<T> {
    rows.into_iter().map(value).collect()
}

/// The value that a text in the database stands for.
///
/// # Errors
/// When it does not parse: a constraint keeps it right, so the row is of a newer build.
pub fn parse<T: FromStr<Err: Display>>(text: &str) -> sqlx::Result<T> {
    text.parse().map_err(|error: T::Err| sqlx::Error::Decode(error.to_string().into()))
}
