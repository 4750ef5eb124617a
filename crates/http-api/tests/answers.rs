//! What clients see: problems, and the refusals of the extractors, through a real router.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::DefaultBodyLimit,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_api::{
    ETag, IdempotencyKey, IfMatch, Json, Path, Problem, Query, RawJson,
    page::{Cursor, Limit, Page, Scope},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basket {
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    quantity: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<u32>>,
    #[serde(default)]
    least: u32,
}

async fn numbers(scope: Scope, Query(listing): Query<Listing>) -> Result<Json<Page<u32>>, Problem> {
    let start = scope.key(listing.cursor)?.map_or(listing.least, |last| last + 1);
    let rows = (start..7).take(listing.limit.get() + 1).collect();
    Ok(Json(Page::cut(rows, listing.limit, scope, |last| *last)))
}

fn router() -> Router {
    Router::new()
        .route("/baskets", post(async |Json(basket): Json<Basket>| Json(basket)))
        .route("/raw", post(async |raw: RawJson<Basket>| raw.bytes))
        .route("/numbers", get(numbers))
        .route("/others", get(numbers))
        .route("/squares/{n}", get(async |Path(n): Path<u32>| Json(n * n)))
        .route("/keys", get(async |IdempotencyKey(key): IdempotencyKey| Json(key)))
        .route("/third", get(async |if_match: IfMatch| if_match.check(Some(3)).map(|()| (ETag(3), Json(3)))))
        .route("/missing", get(async |if_match: IfMatch| if_match.check(None).map(|()| Json(0))))
        .layer(DefaultBodyLimit::max(1024))
}

struct Answer {
    status: u16,
    content_type: String,
    body: Value,
}

async fn read(response: Response) -> Answer {
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, content_type, body: serde_json::from_slice(&bytes).unwrap() }
}

async fn send(request: Request<Body>) -> Answer {
    read(router().oneshot(request).await.unwrap()).await
}

async fn fetch(path: &str) -> Answer {
    send(Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post_basket(content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post("/baskets").header("content-type", content_type);
    send(request.body(body.into()).unwrap()).await
}

#[track_caller]
fn check_problem(answer: &Answer, status: u16, slug: &str, detail: &str) {
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!((answer.status, &answer.body["status"]), (status, &json!(status)));
    assert_eq!(answer.body["type"], format!("/problems/{slug}"));
    let text = answer.body["detail"].as_str().unwrap_or_default();
    assert!(text.contains(detail), "{detail:?} is not in {text:?}");
}

#[tokio::test]
async fn a_problem_is_its_members_and_headers() {
    let problem = Problem::new(StatusCode::PAYMENT_REQUIRED, "card-declined", "The card was declined")
        .detail("try another card")
        .with("code", "card_declined")
        .retry_after(Duration::from_millis(1_001));
    let response = problem.into_response();
    assert_eq!(response.headers()["retry-after"], "2");
    let answer = read(response).await;
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(
        answer.body,
        json!({
            "type": "/problems/card-declined",
            "title": "The card was declined",
            "status": 402,
            "detail": "try another card",
            "code": "card_declined",
        })
    );
}

#[tokio::test]
async fn an_internal_problem_keeps_its_cause_to_itself() {
    let answer = read(Problem::internal("password=hush").into_response()).await;
    check_problem(&answer, 500, "internal", "");
    assert!(!answer.body.to_string().contains("hush"));
}

#[tokio::test]
async fn json_that_fits_is_read_and_written() {
    let answer = post_basket("application/json; charset=utf-8", r#"{"lines":[{"quantity":2}]}"#).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    assert_eq!(answer.body, json!({ "lines": [{ "quantity": 2 }] }));
}

#[tokio::test]
async fn a_raw_body_is_the_bytes_that_were_sent() {
    let body = r#"{ "lines" : [] }"#;
    let request = Request::post("/raw").header("content-type", "application/json").body(Body::from(body));
    let response = router().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(to_bytes(response.into_body(), usize::MAX).await.unwrap(), body);
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "json", ""] {
        let answer = post_basket(content_type, "{}").await;
        check_problem(&answer, 415, "unsupported-media-type", "Content-Type: application/json");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    for body in ["", "{", "{} trailing", "{'lines':[]}", "\u{feff}{}"] {
        let answer = post_basket("application/json", body).await;
        assert!([400, 422].contains(&answer.status), "{body}");
        assert_eq!(answer.content_type, "application/problem+json", "{body}");
    }
    check_problem(&post_basket("application/json", "{").await, 400, "malformed", "EOF");
    check_problem(&post_basket("application/json", r#"{"lines":[]} x"#).await, 400, "malformed", "trailing");
}

#[tokio::test]
async fn json_of_another_shape_is_422_and_names_the_member() {
    let wrong = post_basket("application/json", r#"{"lines":[{"quantity":1},{"quantity":-2}]}"#).await;
    check_problem(&wrong, 422, "invalid", "lines[1].quantity: invalid value");
    assert_eq!(wrong.body["member"], "lines[1].quantity");
    let unknown = post_basket("application/json", r#"{"lines":[],"price":1}"#).await;
    check_problem(&unknown, 422, "invalid", "unknown field `price`");
    let missing = post_basket("application/json", "{}").await;
    check_problem(&missing, 422, "invalid", "missing field `lines`");
    for (array, detail) in [
        (r#"[[{"quantity":1}]]"#, "invalid type: sequence, expected struct Basket"),
        (r#"{"lines":[{"quantity":1},[2]]}"#, "lines[1]: invalid type: sequence, expected struct Line"),
    ] {
        check_problem(&post_basket("application/json", array).await, 422, "invalid", detail);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let answer = post_basket("application/json", " ".repeat(1025)).await;
    check_problem(&answer, 413, "too-large", "");
}

#[tokio::test]
async fn a_path_that_does_not_parse_is_400() {
    assert_eq!(fetch("/squares/7").await.body, 49);
    check_problem(&fetch("/squares/seven").await, 400, "malformed", "seven");
}

#[tokio::test]
async fn a_list_is_walked_by_its_cursors_to_the_end() {
    let mut seen = Vec::new();
    let mut path = "/numbers?limit=3".to_owned();
    loop {
        let answer = fetch(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        seen.extend(answer.body["items"].as_array().unwrap().iter().map(|item| item.as_u64().unwrap()));
        let Some(cursor) = answer.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("/numbers?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_cursor_of_another_list_or_filter_is_400() {
    let cursor_of = async |path: &str| fetch(path).await.body["next_cursor"].as_str().unwrap().to_owned();
    let (all, from_2) = (cursor_of("/numbers?limit=3").await, cursor_of("/numbers?least=2&limit=3").await);
    for (path, cursor) in [
        ("/others?limit=3", &all),
        ("/numbers?least=2", &all),
        ("/numbers?", &from_2),
        ("/numbers?least=3", &from_2),
    ] {
        let answer = fetch(&format!("{path}&cursor={cursor}")).await;
        check_problem(&answer, 400, "malformed", "of another list, or of other filters");
    }
    assert_eq!(fetch(&format!("/numbers?cursor={all}&limit=1")).await.body["items"], json!([3]));
    assert_eq!(fetch(&format!("/numbers?limit=1&cursor={from_2}&least=2")).await.body["items"], json!([5]));
}

#[tokio::test]
async fn a_full_last_page_has_no_cursor() {
    let answer = fetch("/numbers?limit=7").await;
    assert_eq!(answer.body, json!({ "items": [0, 1, 2, 3, 4, 5, 6], "next_cursor": null }));
}

#[tokio::test]
async fn a_bad_limit_or_cursor_or_parameter_is_400() {
    for limit in ["0", "201", "-1", "many", ""] {
        let answer = fetch(&format!("/numbers?limit={limit}")).await;
        check_problem(&answer, 400, "malformed", "limit is a number from 1 to 200");
    }
    for cursor in ["!", "bm90IGpzb24", "InRleHQi", "Mw"] {
        let answer = fetch(&format!("/numbers?cursor={cursor}")).await;
        check_problem(&answer, 400, "malformed", "cursor is not one that this list gave out");
    }
    check_problem(&fetch("/numbers?colour=red").await, 400, "malformed", "unknown field `colour`");
}

#[tokio::test]
async fn an_idempotency_key_is_required_and_printable() {
    let with_key = async |key: &[u8]| {
        send(Request::get("/keys").header("idempotency-key", key).body(Body::empty()).unwrap()).await
    };
    check_problem(&fetch("/keys").await, 400, "malformed", "needs an Idempotency-Key");
    assert_eq!(with_key(b"order 17").await.body, "order 17");
    assert_eq!(with_key(&[b'k'; 255]).await.status, 200);
    for key in [&b""[..], &[b'k'; 256], b"tab\there", "schl\u{fc}ssel".as_bytes()] {
        check_problem(&with_key(key).await, 400, "malformed", "1 to 255 printable ASCII");
    }
}

#[tokio::test]
async fn two_idempotency_keys_are_refused() {
    let request = Request::get("/keys").header("idempotency-key", "a").header("idempotency-key", "b");
    check_problem(&send(request.body(Body::empty()).unwrap()).await, 400, "malformed", "not several");
}

/// Asks for `path` under a condition of these headers.
async fn fetch_if(path: &str, if_match: &[&str]) -> Answer {
    let request = Request::get(path);
    let request = if_match.iter().fold(request, |request, value| request.header("if-match", *value));
    send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn an_etag_is_the_version_in_quotes() {
    let request = Request::get("/third").header("if-match", "*").body(Body::empty());
    let response = router().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["etag"], "\"3\"");
}

#[tokio::test]
async fn a_condition_that_names_the_version_is_met() {
    for met in
        [&["*"][..], &[" * "], &["\"3\""], &["\"1\", \"3\""], &["\"a,b\",,\"3\" ,"], &["\"1\"", "\"3\""]]
    {
        assert_eq!(fetch_if("/third", met).await.status, 200, "{met:?}");
    }
}

#[tokio::test]
async fn another_version_or_a_weak_tag_is_412() {
    for other in ["\"2\"", "W/\"3\"", "\"03\"", "\"*\"", "\"\"", "\"1\",\"2\""] {
        check_problem(&fetch_if("/third", &[other]).await, 412, "precondition-failed", "the ETag is \"3\"");
    }
}

#[tokio::test]
async fn no_condition_on_what_exists_is_428() {
    check_problem(&fetch("/third").await, 428, "precondition-required", "GET it first");
}

#[tokio::test]
async fn a_condition_on_what_does_not_exist_is_412() {
    assert_eq!(fetch("/missing").await.status, 200);
    for condition in ["*", "\"3\""] {
        let answer = fetch_if("/missing", &[condition]).await;
        check_problem(&answer, 412, "precondition-failed", "without it to create");
    }
}

#[tokio::test]
async fn a_condition_that_is_no_list_of_tags_is_400() {
    let wrong =
        ["", ",", "3", "\"3", "3\"", "\"3\" \"4\"", "\"3\"4", "*, \"3\"", "w/\"3\"", "\"a b\"", "\"\u{fc}\""];
    for text in wrong {
        check_problem(&fetch_if("/third", &[text]).await, 400, "malformed", "If-Match is the ETag of a GET");
    }
    check_problem(&fetch_if("/third", &["*", "*"]).await, 400, "malformed", "or *");
}
