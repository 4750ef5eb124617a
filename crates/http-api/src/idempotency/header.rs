//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{Problem, idempotency::Key};

/// The request's key, if it has one. Rejects with 400 unless it is 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl IdempotencyKey {
    const NAME: &str = "idempotency-key";
    const MAX_LENGTH: usize = 255;

    /// The key together with the fingerprint of its request.
    #[must_use]
    pub fn of_request(self, method: &str, path: &str, body: &[u8]) -> Option<Key> {
        self.0.map(|key| Key::new(key, method, path, body))
    }

    /// The key of a call that requires one. Rejects with 400 when it is missing.
    pub fn required(self) -> Result<String, Problem> {
        self.0.ok_or_else(|| Problem::malformed("this call needs an Idempotency-Key header: send a new UUID, and the same one with each repeat"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(Self::NAME).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        if values.next().is_some() {
            return Err(Problem::malformed("send one Idempotency-Key header, not several"));
        }
        let key = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if key.is_empty() || key.len() > Self::MAX_LENGTH || !printable {
            return Err(Problem::malformed("an Idempotency-Key is 1 to 255 printable ASCII characters"));
        }
        Ok(Self(Some(key.to_owned())))
    }
}
