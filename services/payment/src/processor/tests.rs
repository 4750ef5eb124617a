//! What each answer of the processor means, and what the processor gets to see.

use std::time::Duration;

use contracts::{Money, OrderId, TraceContext};
use messaging::BreakerConfig;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, header, method, path, query_param},
};

use crate::config::ProcessorConfig;
use crate::domain::{Action, Answer, Moved, Payment, Terms};
use crate::processor::{MAX_BODY, Processor, Refused, Reply, Request, answer};

mod lookups;

const TIMEOUT: Duration = Duration::from_millis(200);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn config(url: &str) -> ProcessorConfig {
    ProcessorConfig {
        payment_provider_url: url.parse().expect("a URL"),
        call_timeout: TIMEOUT,
        call_connect_timeout: TIMEOUT,
        call_concurrency: 1,
        call_backoff_base: TIMEOUT,
        call_backoff_cap: TIMEOUT,
        breaker: BreakerConfig { failures: 1, pause: TIMEOUT, pause_cap: TIMEOUT },
    }
}

fn processor(url: &str) -> Processor {
    Processor::new(&config(url)).expect("a client")
}

fn payment() -> Payment {
    let amount = Money { amount_minor: 2500, currency: "EUR".parse().expect("EUR is a currency") };
    Payment {
        terms: Some(Terms { amount, method: "pm_card_visa".parse().expect("a payment method") }),
        authorization_id: Some("auth-1".to_owned()),
        moved: Moved { captured_minor: 2500, ..Moved::default() },
        ..Payment::placeholder(OrderId(Uuid::from_u128(1)))
    }
}

fn request(action: Action) -> Request {
    Request::new(action, &payment()).expect("the payment has all it takes")
}

fn trace() -> TraceContext {
    TraceContext { traceparent: Some(TRACEPARENT.to_owned()), tracestate: None }
}

fn approved() -> Reply {
    Reply::Answer(Answer::Approved { authorization_id: "auth-1".to_owned() })
}

fn amount() -> Money {
    Money { amount_minor: 2500, currency: "EUR".parse().expect("EUR is a currency") }
}

const ACTIONS: [Action; 4] = [Action::Authorize, Action::Capture, Action::Void, Action::Refund];

/// The authorization of the payment, in a status.
fn authorization(status: &str) -> Value {
    let refunded_minor = if status == "refunded" { 2500 } else { 0 };
    json!({
        "id": "auth-1", "status": status, "amount_minor": 2500, "currency": "EUR", "refunded_minor": refunded_minor,
    })
}

/// What an answer to a call means.
fn read(action: Action, status: u16, body: &Value) -> Result<Reply, Refused> {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    answer(&request(action), status, body.as_bytes())
}

/// The same, of one that is no refusal.
fn answered(action: Action, status: u16, body: &Value) -> Reply {
    read(action, status, body).expect("no refusal")
}

/// Makes the call, which is not refused.
async fn call(url: &str, request: &Request, trace: &TraceContext) -> Reply {
    processor(url).call(request, trace).await.expect("no refusal")
}

fn declined(reason: &str) -> Reply {
    Reply::Answer(Answer::Declined { reason: reason.to_owned() })
}

fn capture_failed(reason: &str) -> Reply {
    Reply::Answer(Answer::CaptureFailed { reason: reason.to_owned() })
}

/// What each call is answered when it is done.
fn done(action: Action) -> (&'static str, Answer) {
    match action {
        Action::Authorize => ("authorized", Answer::Approved { authorization_id: "auth-1".to_owned() }),
        Action::Capture => ("captured", Answer::Captured { amount: amount() }),
        Action::Void => ("voided", Answer::Voided),
        Action::Refund => ("refunded", Answer::Refunded { amount: amount(), number: 1 }),
    }
}

#[test]
fn each_answer_means_one_thing() {
    for action in ACTIONS {
        let (status, answer) = done(action);
        assert_eq!(answered(action, 200, &authorization(status)), Reply::Answer(answer), "{action}");
    }
    let code = |code: &str| json!({ "title": "No", "code": code });
    assert_eq!(answered(Action::Authorize, 201, &authorization("authorized")), approved());
    assert_eq!(answered(Action::Authorize, 402, &code("card_declined")), declined("card_declined"));
    assert_eq!(answered(Action::Authorize, 402, &Value::Null), declined("402 Payment Required"));
    assert_eq!(answered(Action::Capture, 402, &code("capture_failed")), capture_failed("capture_failed"));
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_never_believed() {
    for action in ACTIONS {
        let right = authorization(done(action).0);
        let array = json!(["auth-1", done(action).0, 2500, "EUR"]);
        assert!(matches!(answered(action, 200, &array), Reply::Trouble(_)), "{action}: {array}");
        for (member, value) in [
            ("amount_minor", json!(2400)),
            ("currency", json!("USD")),
            ("refunded_minor", json!(2501)),
            ("refunded_minor", json!(-1)),
            ("status", json!("pending")),
            ("status", json!("expired")),
        ] {
            let mut wrong = right.clone();
            wrong[member] = value;
            assert!(matches!(answered(action, 200, &wrong), Reply::Unsettled(_)), "{action}: {wrong}");
        }
        for id in ["", ".", "..", "a/b", "a b", &"x".repeat(101)] {
            let mut wrong = right.clone();
            wrong["id"] = json!(id);
            assert!(matches!(answered(action, 200, &wrong), Reply::Unsettled(_)), "{action}: {wrong}");
        }
        for body in
            [json!({}), json!("authorized"), json!([right]), json!({ "id": "auth-1", "status": "captured" })]
        {
            assert!(matches!(answered(action, 200, &body), Reply::Trouble(_)), "{action}: {body}");
        }
    }
    let mut another = authorization("captured");
    another["id"] = json!("auth-2");
    assert!(matches!(answered(Action::Capture, 200, &another), Reply::Unsettled(_)));
}

#[test]
fn a_refund_of_the_rest_has_a_number_and_an_amount_of_its_own() {
    let moved = Moved { captured_minor: 2500, refunded_minor: 1000, refunds: 1 };
    let rest = Request::new(Action::Refund, &Payment { moved, ..payment() }).expect("a refund");
    assert!(rest.idempotency_key().ends_with(":refund:2"));
    assert_eq!(rest.to_move().amount_minor, 1500);
    let read = |shown: &Value| answer(&rest, StatusCode::OK, shown.to_string().as_bytes());
    let amount = Money { amount_minor: 1500, ..amount() };
    assert_eq!(read(&authorization("refunded")), Ok(Reply::Answer(Answer::Refunded { amount, number: 2 })));
    for (status, refunded_minor) in [("refunded", 1500), ("captured", 1000), ("captured", 2500)] {
        let mut wrong = authorization(status);
        wrong["refunded_minor"] = json!(refunded_minor);
        assert!(matches!(read(&wrong), Ok(Reply::Unsettled(_))), "{wrong}");
    }
}

#[test]
fn what_is_not_known_is_never_declined() {
    for action in ACTIONS {
        for status in [302, 409, 425, 404, 400] {
            assert!(matches!(answered(action, status, &Value::Null), Reply::Unknown(_)), "{action} {status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(answered(action, status, &Value::Null), Reply::Trouble(_)), "{action} {status}");
        }
    }
}

#[test]
fn a_refusal_says_why_or_is_about_our_access() {
    for action in ACTIONS {
        for status in [401, 403] {
            let body = json!({ "title": "No" });
            assert!(matches!(answered(action, status, &body), Reply::Denied(_)), "{action} {status}");
        }
        for status in [400, 404, 409, 422] {
            let body = json!({ "title": "No", "code": "authorization_voided" });
            let refused = Refused("authorization_voided".to_owned());
            assert_eq!(read(action, status, &body), Err(refused), "{action} {status}");
        }
    }
}

#[test]
fn a_reason_is_short_and_of_one_line() {
    let body = json!({ "code": format!("no\n{}", "x".repeat(1000)) }).to_string();
    let reply = answer(&request(Action::Authorize), StatusCode::PAYMENT_REQUIRED, body.as_bytes());
    let Ok(Reply::Answer(Answer::Declined { reason })) = reply else { panic!("{reply:?}") };
    assert_eq!(reason, format!("no{}", "x".repeat(198)));
}

#[test]
fn a_call_survives_its_job() {
    for action in [Action::Authorize, Action::Capture, Action::Void, Action::Refund] {
        let payload = serde_json::to_value(request(action)).expect("a payload");
        assert_eq!(payload["action"], action.into_str());
        assert_eq!(serde_json::from_value::<Request>(payload).expect("a request"), request(action));
    }
    assert_eq!(Request::new(Action::Void, &Payment { authorization_id: None, ..payment() }), None);
}

#[tokio::test]
async fn an_authorization_carries_order_amount_method_key_and_trace() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/authorizations"))
        .and(header("idempotency-key", "00000000-0000-0000-0000-000000000001:authorize:1"))
        .and(header("traceparent", TRACEPARENT))
        .and(body_json(json!({
            "merchant_reference": "00000000-0000-0000-0000-000000000001",
            "amount_minor": 2500,
            "currency": "EUR",
            "payment_method": "pm_card_visa",
        })))
        .respond_with(ResponseTemplate::new(201).set_body_json(authorization("authorized")))
        .expect(2)
        .mount(&server)
        .await;

    for url in [server.uri(), format!("{}/", server.uri())] {
        assert_eq!(call(&url, &request(Action::Authorize), &trace()).await, approved());
    }
}

#[tokio::test]
async fn every_other_call_names_its_authorization_and_has_a_key_of_its_own() {
    for action in [Action::Capture, Action::Void, Action::Refund] {
        let (status, answer) = done(action);
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path(format!("/v1/authorizations/auth-1/{action}")))
            .and(header("idempotency-key", format!("00000000-0000-0000-0000-000000000001:{action}:1")))
            .respond_with(ResponseTemplate::new(200).set_body_json(authorization(status)))
            .expect(1)
            .mount(&server)
            .await;

        let reply = call(&server.uri(), &request(action), &trace()).await;
        assert_eq!(reply, Reply::Answer(answer));
    }
}

#[tokio::test]
async fn a_capture_and_a_refund_say_how_much() {
    for action in [Action::Capture, Action::Refund] {
        let server = MockServer::start().await;
        let part = json!({ "amount_minor": 2500, "currency": "EUR" });
        let done = ResponseTemplate::new(200).set_body_json(authorization(done(action).0));
        Mock::given(body_json(part)).respond_with(done).expect(1).mount(&server).await;
        call(&server.uri(), &request(action), &trace()).await;
    }
}

#[tokio::test]
async fn an_authorization_is_looked_up_by_its_id_or_the_order() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/authorizations"))
        .and(query_param("merchant_reference", "00000000-0000-0000-0000-000000000001"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "items": [authorization("authorized")] })),
        )
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/v1/authorizations/auth-1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(authorization("expired")))
        .mount(&server)
        .await;
    let processor = processor(&server.uri());
    assert_eq!(processor.look_up(&request(Action::Authorize), "too old").await, approved());
    let voided = Reply::Answer(Answer::Voided);
    assert_eq!(processor.look_up(&request(Action::Void), "too old").await, voided);
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let server = MockServer::start().await;
    let endless = ResponseTemplate::new(201).set_body_string("x".repeat(MAX_BODY + 1));
    Mock::given(method("POST")).respond_with(endless).mount(&server).await;
    let reply = call(&server.uri(), &request(Action::Authorize), &trace()).await;
    let Reply::Trouble(reason) = reply else { panic!("{reply:?}") };
    assert!(reason.contains("larger than 65536 bytes"), "{reason}");
}

#[tokio::test]
async fn a_trace_that_no_header_can_carry_is_left_out() {
    let server = MockServer::start().await;
    let done = ResponseTemplate::new(201).set_body_json(authorization("authorized"));
    Mock::given(method("POST")).respond_with(done).mount(&server).await;
    let traceparent = Some("00-x\r\nX: 1".to_owned());
    let bad = TraceContext { tracestate: traceparent.clone(), traceparent };
    assert_eq!(call(&server.uri(), &request(Action::Authorize), &bad).await, approved());
}

#[tokio::test]
async fn no_answer_in_time_is_trouble() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(201).set_body_json(json!({ "id": "auth-1" })).set_delay(TIMEOUT * 50);
    Mock::given(method("POST")).respond_with(late).mount(&server).await;

    let reply = call(&server.uri(), &request(Action::Authorize), &trace()).await;
    assert_eq!(reply, Reply::Trouble("no answer in time".to_owned()));
}

#[tokio::test]
async fn an_answer_that_stops_in_its_middle_is_cut_off_by_the_timeout_of_the_whole_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let half_an_answer = async {
        let (mut stream, _) = listener.accept().await.expect("a call");
        let _ = stream.read(&mut [0; 4096]).await.expect("its first part");
        let head = b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"id\":";
        stream.write_all(head).await.expect("written");
        stream
    };
    let (calls, no_trace) = (processor(&url), trace());
    let ask = request(Action::Authorize);
    let both = async { tokio::join!(calls.call(&ask, &no_trace), half_an_answer) };
    let (reply, _stream) = timeout(TIMEOUT * 50, both).await.expect("cut off");
    assert_eq!(reply, Ok(Reply::Trouble("no answer in time".to_owned())));
}

#[tokio::test]
async fn a_connection_that_is_not_taken_is_given_up_after_its_own_timeout() {
    // A queue of one place, and taken: the system answers no further client.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(0).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let _first = TcpStream::connect(address).await.expect("a place");

    let mut config = config(&format!("http://{address}"));
    config.call_timeout = TIMEOUT * 100;
    let patient = Processor::new(&config).expect("a client");
    let (ask, no_trace) = (request(Action::Void), trace());
    let reply = timeout(TIMEOUT * 50, patient.call(&ask, &no_trace)).await.expect("given up");
    assert_eq!(reply, Ok(Reply::Trouble("no answer in time".to_owned())));
}

#[tokio::test]
async fn nobody_there_is_trouble() {
    // Bound and not listening: nobody else can take the port while the test runs.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));

    let reply = call(&url, &request(Action::Void), &trace()).await;
    let Reply::Trouble(reason) = reply else { panic!("{reply:?}") };
    assert!(reason.contains("refused"), "{reason}");
}
