//! One order is one trace through all services, which each of them exports.

use std::collections::BTreeSet;

use crate::shop::order_of;
use devstack::{Services, SmtpSink, free_ports};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::running::{Env, Running};
use testkit::{World, eventually};

use super::collector::Collector;
use super::process::{at_home, service_names};
use super::servers::{READY_LIMIT, as_service};

/// What the customer's own trace is called, and the span in it that places the order (W3C Trace Context).
const TRACE_ID: [u8; 16] = [0x4b; 16];
const CALLER_ID: [u8; 8] = [0x7c; 8];
const TRACEPARENT: &str = "00-4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b-7c7c7c7c7c7c7c7c-01";

#[tokio::test(flavor = "multi_thread")]
async fn order_is_one_trace_through_all_services() {
    let collector = Collector::start().await;
    let folder = TempDir::new().expect("a folder");
    let [port] = free_ports().expect("a free port");
    let mails = SmtpSink::start(folder.path(), port).await.expect("the mail sink starts");
    let provider = Running::start(&Env::new(), payment_provider::run).await;
    let world = World::new().await;
    let mut services = Services::new(folder.path()).expect("a folder");
    let mut urls = Env::new();
    for name in service_names() {
        let mut variables = at_home(&world, name).await;
        variables.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.url.clone());
        variables.entry("PAYMENT_PROVIDER_URL".to_owned()).and_modify(|url| url.clone_from(&provider.url));
        variables.entry("SMTP_URL".to_owned()).and_modify(|url| *url = mails.url());
        let service = as_service(name, &variables);
        urls.insert(name.to_owned(), format!("http://{}", service.listen));
        services.start(service).expect("it starts");
    }
    services.wait_until_ready(READY_LIMIT).await.expect("ready");

    order_beans(&urls["inventory"], &urls["order"]).await;
    eventually("spans of every service", async || {
        let of = |spans: &[(String, Span)]| spans.iter().map(|(service, _)| service.clone()).collect();
        let seen: BTreeSet<String> = of(&collector.trace(&TRACE_ID));
        if seen.len() == service_names().count() { Ok(()) } else { Err(seen) }
    })
    .await;
    services.stop_all().await.expect("they stop, and send the rest");
    is_one_tree(&collector.trace(&TRACE_ID));
    provider.stop().await.expect("it ends well");
}

/// Lists beans and orders some, as soon as their price is known.
async fn order_beans(inventory: &str, order: &str) {
    let client = reqwest::Client::new();
    let product = json!({"name": "Beans", "price": {"amount_minor": 1000, "currency": "EUR"}});
    let beans = format!("{inventory}/api/v1/products/BEANS");
    let listed = client.put(&beans).json(&product).send().await.expect("an answer");
    assert!(listed.status().is_success(), "{listed:?}");
    let restock = client.post(format!("{beans}/restock")).header("idempotency-key", "restock");
    let restock = restock.json(&json!({"quantity": 1}));
    assert!(restock.send().await.expect("an answer").status().is_success());
    let body = order_of("BEANS", 1, "pm_card_visa");
    eventually("the order to be taken", async || {
        let place = client.post(format!("{order}/api/v1/orders")).header("traceparent", TRACEPARENT);
        let place = place.header("idempotency-key", "order");
        let answer = place.json(&body).send().await.expect("an answer");
        if answer.status() == 202 { Ok(()) } else { Err(answer.json::<Value>().await.expect("JSON")) }
    })
    .await;
}

/// Asserts that every span but the caller's own has its parent in the trace, and that each kind is there.
fn is_one_tree(trace: &[(String, Span)]) {
    let ids: BTreeSet<&[u8]> = trace.iter().map(|(_, span)| span.span_id.as_slice()).collect();
    for (service, span) in trace {
        let parent = span.parent_span_id.as_slice();
        assert!(
            parent == CALLER_ID || ids.contains(parent),
            "{service} has a span without a parent: {span:?}"
        );
    }
    let services_of = |kind: SpanKind| -> BTreeSet<&str> {
        let of_kind = trace.iter().filter(|(_, span)| span.kind == i32::from(kind));
        of_kind.map(|(service, _)| service.as_str()).collect()
    };
    assert!(services_of(SpanKind::Server).contains("order"), "{trace:?}");
    assert!(services_of(SpanKind::Client).contains("payment"), "{trace:?}");
    assert_eq!(services_of(SpanKind::Consumer), service_names().collect(), "{trace:?}");
}
