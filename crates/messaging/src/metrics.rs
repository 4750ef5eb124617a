//! The metrics of messaging. Names after the OpenTelemetry semantic conventions for messaging, where they have one.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter},
};

use crate::breaker::BreakerState;

/// The instruments, made on first use: after telemetry has started.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub(crate) struct Metrics {
    sent: Counter<u64>,
    consumed: Counter<u64>,
    process_duration: Histogram<f64>,
    retries_scheduled: Counter<u64>,
    dead_letters: Counter<u64>,
    outbox_held: Gauge<i64>,
    waiting: BacklogGauges,
    breaker_state: Gauge<i64>,
    breaker_transitions: Counter<u64>,
}

/// What waits in the database.
struct BacklogGauges {
    retries: Gauge<i64>,
    unsupported: Gauge<i64>,
    dead_letters: Gauge<i64>,
    outbox_depth: Gauge<i64>,
    outbox_age: Gauge<f64>,
    jobs: Gauge<i64>,
    jobs_parked: Gauge<i64>,
    jobs_age: Gauge<f64>,
}

impl Metrics {
    fn new() -> Self {
        let meter = global::meter("messaging");
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let gauge = |name, description| meter.i64_gauge(name).with_description(description).build();
        Self {
            sent: counter("messaging.client.sent.messages", "Events that the broker confirmed"),
            consumed: counter("messaging.client.consumed.messages", "Messages that are in effect"),
            process_duration: meter
                .f64_histogram("messaging.process.duration")
                .with_description("Duration of the transaction of a batch")
                .with_unit("s")
                .build(),
            retries_scheduled: counter(
                "messaging.retries.scheduled",
                "Messages that failed and wait for their next attempt",
            ),
            dead_letters: counter("messaging.dead_letters", "Messages that became dead letters"),
            outbox_held: gauge(
                "messaging.outbox.held",
                "Events that the broker did not take, tried again; alarm on more than 0",
            ),
            waiting: BacklogGauges::new(&meter),
            breaker_state: gauge(
                "messaging.breaker.state",
                "Breaker of a dependency: 0 closed, 1 half-open, 2 open (its jobs wait)",
            ),
            breaker_transitions: counter("messaging.breaker.transitions", "Changes of a breaker to a state"),
        }
    }

    pub(crate) fn sent(&self, count: usize) {
        self.sent.add(count as u64, &[]);
    }

    pub(crate) fn held(&self, count: i64) {
        self.outbox_held.record(count, &[]);
    }

    pub(crate) fn consumed(&self, count: usize, took: Duration) {
        self.consumed.add(count as u64, &[]);
        self.process_duration.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn retry_scheduled(&self, source: &str) {
        self.retries_scheduled.add(1, &[destination(source)]);
    }

    pub(crate) fn dead_lettered(&self, source: &str) {
        self.dead_letters.add(1, &[destination(source)]);
    }

    pub(crate) fn backlog(&self, backlog: &Backlog) {
        let gauges = &self.waiting;
        gauges.retries.record(backlog.retries, &[]);
        gauges.unsupported.record(backlog.unsupported, &[]);
        gauges.dead_letters.record(backlog.dead_letters, &[]);
        gauges.outbox_depth.record(backlog.events, &[]);
        gauges.outbox_age.record(backlog.oldest_seconds, &[]);
        gauges.jobs.record(backlog.jobs, &[]);
        gauges.jobs_parked.record(backlog.parked, &[]);
        gauges.jobs_age.record(backlog.oldest_job_seconds, &[]);
    }

    pub(crate) fn breaker_is(&self, dependency: &'static str, state: BreakerState) {
        self.breaker_state.record(state as i64, &[KeyValue::new("dependency", dependency)]);
    }

    /// Counts a change of one lane's breaker, and shows the worst state of all lanes.
    pub(crate) fn breaker_becomes(&self, dependency: &'static str, state: BreakerState, worst: BreakerState) {
        self.breaker_is(dependency, worst);
        let attributes = [KeyValue::new("dependency", dependency), KeyValue::new("to", <&str>::from(state))];
        self.breaker_transitions.add(1, &attributes);
    }
}

impl BacklogGauges {
    fn new(meter: &Meter) -> Self {
        let gauge = |name, description| meter.i64_gauge(name).with_description(description).build();
        let age =
            |name, description| meter.f64_gauge(name).with_description(description).with_unit("s").build();
        Self {
            retries: gauge("messaging.retries.depth", "Messages that failed and wait for their next attempt"),
            unsupported: gauge(
                "messaging.unsupported.depth",
                "Messages that wait for a build that supports them; alarm when they stay after a deployment",
            ),
            dead_letters: gauge(
                "messaging.dead_letters.depth",
                "Dead letters; alarm on more than 0: see `sagactl dead-letters`",
            ),
            outbox_depth: gauge("messaging.outbox.depth", "Events that wait to be published"),
            outbox_age: age(
                "messaging.outbox.oldest.age",
                "Age of the oldest event that waits to be published",
            ),
            jobs: gauge("messaging.jobs.depth", "Jobs that are not completed"),
            jobs_parked: gauge(
                "messaging.jobs.parked",
                "Jobs that no call can settle; alarm on more than 0: see `sagactl jobs`",
            ),
            jobs_age: age("messaging.jobs.oldest.age", "Age of the oldest job that is not completed"),
        }
    }
}

fn destination(queue: &str) -> KeyValue {
    KeyValue::new("messaging.destination.name", queue.to_owned())
}

/// Work that waits in the database.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) events: i64,
    pub(crate) oldest_seconds: f64,
    pub(crate) jobs: i64,
    pub(crate) parked: i64,
    pub(crate) oldest_job_seconds: f64,
    pub(crate) retries: i64,
    pub(crate) unsupported: i64,
    pub(crate) dead_letters: i64,
}
