//! What each answer of the processor means, and what the processor gets to see.

use std::time::Duration;

use contracts::{Money, OrderId, TraceContext};
use messaging::BreakerConfig;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, header, method, path},
};

use crate::config::ProcessorConfig;
use crate::domain::{Action, Answer, Payment, Terms};
use crate::processor::{Processor, Reply, Request, read};

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
        authorization_id: Some("auth/1".to_owned()),
        ..Payment::placeholder(OrderId(Uuid::from_u128(1)), Uuid::from_u128(2))
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

#[test]
fn each_answer_means_one_thing() {
    let declined = |reason: &str| Reply::Answer(Answer::Declined { reason: reason.to_owned() });
    let capture_failed = |reason: &str| Reply::Answer(Answer::CaptureFailed { reason: reason.to_owned() });
    let check = |action, status: u16, body: &str, expected: Reply| {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(read(action, status, body.as_bytes()), expected, "{action} {status} {body}");
    };
    let code = |code: &str| json!({ "title": "No", "code": code }).to_string();

    check(Action::Authorize, 201, r#"{"id": "auth-1", "status": "authorized"}"#, approved());
    check(Action::Authorize, 200, r#"{"id": "auth-1"}"#, approved());
    check(Action::Authorize, 402, &code("card_declined"), declined("card_declined"));
    check(Action::Authorize, 402, "", declined("402 Payment Required"));
    check(
        Action::Authorize,
        422,
        r#"{"title": "The request is not valid"}"#,
        declined("The request is not valid"),
    );
    check(Action::Capture, 200, "{}", Reply::Answer(Answer::Captured));
    check(Action::Capture, 402, &code("capture_failed"), capture_failed("capture_failed"));
    check(Action::Void, 200, "", Reply::Answer(Answer::Voided));
    check(Action::Refund, 200, "", Reply::Answer(Answer::Refunded));
}

#[test]
fn what_is_not_known_is_never_declined() {
    for action in [Action::Authorize, Action::Capture, Action::Void, Action::Refund] {
        for status in [302, 409, 425] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(matches!(read(action, status, b""), Reply::Unknown(_)), "{action} {status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(matches!(read(action, status, b""), Reply::Trouble(_)), "{action} {status}");
        }
    }
    assert!(matches!(read(Action::Authorize, StatusCode::CREATED, b"{\"id\": "), Reply::Trouble(_)));
}

#[test]
fn a_refusal_that_is_no_answer_is_for_a_person() {
    for action in [Action::Authorize, Action::Capture, Action::Void, Action::Refund] {
        for status in [401, 403, 404] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(matches!(read(action, status, b""), Reply::Refused(_)), "{action} {status}");
        }
    }
    for action in [Action::Void, Action::Refund] {
        assert!(matches!(read(action, StatusCode::PAYMENT_REQUIRED, b""), Reply::Refused(_)), "{action}");
        assert!(matches!(read(action, StatusCode::UNPROCESSABLE_ENTITY, b""), Reply::Refused(_)), "{action}");
    }
}

#[test]
fn a_reason_is_short_and_of_one_line() {
    let body = json!({ "code": format!("no\n{}", "x".repeat(1000)) }).to_string();
    let reply = read(Action::Authorize, StatusCode::PAYMENT_REQUIRED, body.as_bytes());
    let Reply::Answer(Answer::Declined { reason }) = reply else { panic!("{reply:?}") };
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
        .and(header("idempotency-key", "00000000-0000-0000-0000-000000000002:authorize"))
        .and(header("traceparent", TRACEPARENT))
        .and(body_json(json!({
            "merchant_reference": "00000000-0000-0000-0000-000000000001",
            "amount_minor": 2500,
            "currency": "EUR",
            "payment_method": "pm_card_visa",
        })))
        .respond_with(
            ResponseTemplate::new(201).set_body_json(json!({ "id": "auth-1", "status": "authorized" })),
        )
        .expect(2)
        .mount(&server)
        .await;

    for url in [server.uri(), format!("{}/", server.uri())] {
        assert_eq!(processor(&url).call(&request(Action::Authorize), &trace()).await, approved());
    }
}

#[tokio::test]
async fn every_other_call_names_its_authorization_and_has_a_key_of_its_own() {
    let actions = [
        (Action::Capture, Answer::Captured),
        (Action::Void, Answer::Voided),
        (Action::Refund, Answer::Refunded),
    ];
    for (action, answer) in actions {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path(format!("/v1/authorizations/auth%2F1/{action}")))
            .and(header("idempotency-key", format!("00000000-0000-0000-0000-000000000002:{action}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "id": "auth/1" })))
            .expect(1)
            .mount(&server)
            .await;

        let reply = processor(&server.uri()).call(&request(action), &trace()).await;
        assert_eq!(reply, Reply::Answer(answer));
    }
}

#[tokio::test]
async fn no_answer_in_time_is_trouble() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(201).set_body_json(json!({ "id": "auth-1" })).set_delay(TIMEOUT * 50);
    Mock::given(method("POST")).respond_with(late).mount(&server).await;

    let reply = processor(&server.uri()).call(&request(Action::Authorize), &trace()).await;
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
    assert_eq!(reply, Reply::Trouble("no answer in time".to_owned()));
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
    assert_eq!(reply, Reply::Trouble("no answer in time".to_owned()));
}

#[tokio::test]
async fn nobody_there_is_trouble() {
    // Bound and not listening: nobody else can take the port while the test runs.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));

    let reply = processor(&url).call(&request(Action::Void), &trace()).await;
    let Reply::Trouble(reason) = reply else { panic!("{reply:?}") };
    assert!(reason.contains("refused"), "{reason}");
}
