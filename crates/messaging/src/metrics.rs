//! The metrics of messaging. Names after the OpenTelemetry semantic conventions for messaging, where they have one.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram},
};

/// The instruments, made on first use: after telemetry has started.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub(crate) struct Metrics {
    sent: Counter<u64>,
    consumed: Counter<u64>,
    process_duration: Histogram<f64>,
    retries_scheduled: Counter<u64>,
    dead_letters: Counter<u64>,
    outbox_depth: Gauge<i64>,
    outbox_age: Gauge<f64>,
    jobs_waiting: Gauge<i64>,
    breaker_state: Gauge<i64>,
    breaker_transitions: Counter<u64>,
}

impl Metrics {
    fn new() -> Self {
        let meter = global::meter("messaging");
        Self {
            sent: meter
                .u64_counter("messaging.client.sent.messages")
                .with_description("Events that the broker confirmed")
                .build(),
            consumed: meter
                .u64_counter("messaging.client.consumed.messages")
                .with_description("Messages that are in effect")
                .build(),
            process_duration: meter
                .f64_histogram("messaging.process.duration")
                .with_description("Duration of the transaction of a batch")
                .with_unit("s")
                .build(),
            retries_scheduled: meter
                .u64_counter("messaging.retries.scheduled")
                .with_description("Messages that failed and wait in a retry queue")
                .build(),
            dead_letters: meter
                .u64_counter("messaging.dead_letters")
                .with_description("Messages that became dead letters")
                .build(),
            outbox_depth: meter
                .i64_gauge("messaging.outbox.depth")
                .with_description("Events that wait to be published")
                .build(),
            outbox_age: meter
                .f64_gauge("messaging.outbox.oldest.age")
                .with_description("Age of the oldest event that waits to be published")
                .with_unit("s")
                .build(),
            jobs_waiting: meter
                .i64_gauge("messaging.jobs.depth")
                .with_description("Jobs that are not completed")
                .build(),
            breaker_state: meter
                .i64_gauge("messaging.breaker.state")
                .with_description("Breaker of a dependency: 0 closed, 1 half-open, 2 open (its jobs wait)")
                .build(),
            breaker_transitions: meter
                .u64_counter("messaging.breaker.transitions")
                .with_description("Changes of a breaker to a state")
                .build(),
        }
    }

    pub(crate) fn sent(&self, count: usize) {
        self.sent.add(count as u64, &[]);
    }

    pub(crate) fn consumed(&self, count: usize, took: Duration) {
        self.consumed.add(count as u64, &[]);
        self.process_duration.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn retry_scheduled(&self, queue: &str) {
        self.retries_scheduled.add(1, &[destination(queue)]);
    }

    pub(crate) fn dead_lettered(&self, queue: &str, count: usize) {
        if count > 0 {
            self.dead_letters.add(count as u64, &[destination(queue)]);
        }
    }

    pub(crate) fn backlog(&self, backlog: &Backlog) {
        self.outbox_depth.record(backlog.events, &[]);
        self.outbox_age.record(backlog.oldest_seconds, &[]);
        self.jobs_waiting.record(backlog.jobs, &[]);
    }

    pub(crate) fn breaker_is(&self, dependency: &'static str, state: BreakerState) {
        self.breaker_state.record(state as i64, &[KeyValue::new("dependency", dependency)]);
    }

    pub(crate) fn breaker_becomes(&self, dependency: &'static str, state: BreakerState) {
        self.breaker_is(dependency, state);
        let attributes = [KeyValue::new("dependency", dependency), KeyValue::new("to", state.name())];
        self.breaker_transitions.add(1, &attributes);
    }
}

fn destination(queue: &str) -> KeyValue {
    KeyValue::new("messaging.destination.name", queue.to_owned())
}

/// A breaker's state as the gauge shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BreakerState {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

impl BreakerState {
    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Work that waits in the database.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) events: i64,
    pub(crate) oldest_seconds: f64,
    pub(crate) jobs: i64,
}
