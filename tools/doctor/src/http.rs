//! Requests over HTTP.

use reqwest::{Client, StatusCode, Url, header};
use serde_json::Value;

use super::clock::Offset;
use super::{Asked, cause};

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Null when it is not JSON.
    pub(super) body: Value,
    /// By the header `Date`.
    pub(super) offset: Option<Offset>,
}

pub(super) async fn get(client: &Client, url: Url) -> Asked<Answer> {
    let asked = runtime::clock::now();
    let response = client.get(url).send().await.map_err(|error| cause(&error))?;
    let answered = runtime::clock::now();
    let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let offset = date.and_then(|date| Offset::of_date(date, asked, answered));
    let status = response.status();
    Ok(Answer { status, offset, body: response.json().await.unwrap_or_default() })
}
