//! Lists in pages: `{items, next_cursor}`, with a cursor that means nothing to its client.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// How many items a page has at most: 1 to 200, 50 when the client does not say.
///
/// In a query struct: `#[serde(default)] limit: Limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit(u8);

impl Limit {
    const MAX: u8 = 200;
    const DEFAULT: u8 = 50;

    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// The number of rows to ask the database for: one more than the page has, so that
    /// [`Page::cut`] can tell whether another page follows.
    pub fn rows(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..=Self::MAX) => Ok(Self(number)),
            _ => Err(format!("limit is a number from 1 to {}", Self::MAX)),
        }
    }
}

/// Where a page begins: the sort key of the item before it, as URL-safe base64 of its JSON.
///
/// In a query struct: `cursor: Option<Cursor<(DateTime<Utc>, Uuid)>>`; a bad one is answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor<T>(pub T);

impl<T: Serialize> fmt::Display for Cursor<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&self.0).map_err(|_| fmt::Error)?;
        formatter.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl<T: DeserializeOwned> FromStr for Cursor<T> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let key = json.and_then(|json| strict_json::from_slice(&json).ok());
        key.map(Self).ok_or("cursor is not one that this list gave out")
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Cursor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One page of a list. `next_cursor` is null on the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to send as `cursor` to get the page after this one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to [`Limit::rows`] rows: one row more than the limit means that another page
    /// follows, from the last item shown, whose sort key is `key`.
    pub fn cut<K: Serialize>(mut rows: Vec<T>, limit: Limit, key: impl FnOnce(&T) -> K) -> Self {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|item| Cursor(key(item)).to_string());
        Self { items: rows, next_cursor }
    }

    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(view).collect(), next_cursor: self.next_cursor }
    }
}
