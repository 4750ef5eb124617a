//! Entity tags and conditional requests: a change by a client that has not seen the newest version is refused
//! (RFC 9110, sections 8.8.3 and 13.1.1; RFC 6585, section 3).

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponseParts, ResponseParts},
};

use crate::Problem;

/// The header `ETag` of a response: the version of what it shows, as a strong entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag(pub i64);

impl ETag {
    fn text(self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl IntoResponseParts for ETag {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        // Digits and quotes, which every header may hold.
        if let Ok(tag) = HeaderValue::try_from(self.text()) {
            parts.headers_mut().insert(header::ETAG, tag);
        }
        Ok(parts)
    }
}

/// The header `If-Match`, if the request has one. Rejects with 400 unless it is `*` or a list of entity tags.
///
/// Tags are compared strongly: a weak one, such as `W/"3"`, matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Option<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// `*`: whatever exists.
    Any,
    /// One of these entity tags, as they were sent.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Whether the request may change what has this version now; `None` when it does not exist.
    ///
    /// # Errors
    /// 428 when it exists and the request has no condition; 412 when the condition is not met.
    pub fn check(&self, version: Option<i64>) -> Result<(), Problem> {
        match (&self.0, version.map(ETag)) {
            (None, None) | (Some(Condition::Any), Some(_)) => Ok(()),
            (None, Some(_)) => Err(Problem::precondition_required()),
            (Some(_), None) => Err(Problem::precondition_failed(
                "there is nothing here that If-Match could match: send the request without it to create it",
            )),
            (Some(Condition::OneOf(tags)), Some(current)) if tags.contains(&current.text()) => Ok(()),
            (Some(Condition::OneOf(_)), Some(current)) => Err(Problem::precondition_failed(format_args!(
                "the ETag is {} by now: GET it again, decide again, and send that ETag",
                current.text()
            ))),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let malformed = || Problem::malformed("If-Match is the ETag of a GET, such as \"3\", or *");
        let mut lines = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            lines.push(value.to_str().map_err(|_| malformed())?.trim());
        }
        match lines.as_slice() {
            [] => Ok(Self(None)),
            ["*"] => Ok(Self(Some(Condition::Any))),
            // Several headers are one list.
            lines => Ok(Self(Some(Condition::OneOf(tags(&lines.join(",")).ok_or_else(malformed)?)))),
        }
    }
}

/// The entity tags of a list, one at least; `None` when it is not one.
fn tags(list: &str) -> Option<Vec<String>> {
    let (mut tags, mut rest) = (Vec::new(), list);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (!tags.is_empty()).then_some(tags);
        }
        let opaque = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        // A tag holds no quote and no space, but may hold a comma.
        let length = opaque.find('"').filter(|length| !opaque[..*length].contains(' '))?;
        let (tag, after) = rest.split_at(rest.len() - opaque.len() + length + 1);
        tags.push(tag.to_owned());
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}
