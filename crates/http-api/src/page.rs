//! Lists in pages: `{items, next_cursor}`, with a cursor that means nothing to its client.
//!
//! A cursor belongs to one list, in its order, under the filters of the request that it was given to: its [`Scope`].

use std::{fmt, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{Problem, Query};

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

/// What a list shows: its path and the filters of the query. Two spellings of one filter are two scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Enough of the hash that no two scopes of a client are likely to share it.
    const BYTES: usize = 9;

    fn of(path: &str, mut query: Vec<(String, String)>) -> Self {
        query.retain(|(name, _)| !["limit", "cursor"].contains(&name.as_str()));
        query.sort_unstable();
        let mut hash = Sha256::new().chain_update(path);
        for text in query.iter().flat_map(|(name, value)| [name, value]) {
            // No text of a query that can be read holds this byte.
            hash.update([0xff]);
            hash.update(text);
        }
        Self(URL_SAFE_NO_PAD.encode(&hash.finalize()[..Self::BYTES]))
    }

    /// The sort key that the cursor holds. 400 for a cursor of another scope.
    pub fn key<K>(&self, cursor: Option<Cursor<K>>) -> Result<Option<K>, Problem> {
        match cursor {
            Some(cursor) if cursor.scope != self.0 => Err(Problem::malformed(
                "cursor is of another list, or of other filters: ask for the first page without it",
            )),
            cursor => Ok(cursor.map(|cursor| cursor.key)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::from_request_parts(parts, state).await?;
        Ok(Self::of(parts.uri.path(), query))
    }
}

/// Where a page begins: the sort key of the item before it with its [`Scope`], as URL-safe base64 of their JSON.
///
/// In a query struct: `cursor: Option<Cursor<(DateTime<Utc>, Uuid)>>`; a bad one is answered 400. [`Scope::key`] opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor<K> {
    scope: String,
    key: K,
}

impl<K: Serialize> fmt::Display for Cursor<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&(&self.scope, &self.key)).map_err(|_| fmt::Error)?;
        formatter.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl<K: DeserializeOwned> FromStr for Cursor<K> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let content = json.and_then(|json| strict_json::from_slice(&json).ok());
        content.map(|(scope, key)| Self { scope, key }).ok_or("cursor is not one that this list gave out")
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Cursor<K> {
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
    pub fn cut<K: Serialize>(
        mut rows: Vec<T>,
        limit: Limit,
        scope: Scope,
        key: impl FnOnce(&T) -> K,
    ) -> Self {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|item| Cursor { scope: scope.0, key: key(item) }.to_string());
        Self { items: rows, next_cursor }
    }

    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(view).collect(), next_cursor: self.next_cursor }
    }
}
