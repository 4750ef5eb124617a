//! The telemetry of this process: spans are made as in production, and go nowhere; metrics are at `/metrics`.

use std::env;
use std::sync::Once;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static STARTED: Once = Once::new();

/// Starts it, once for all tests of the process. The services' log is shown when `TEST_LOG` holds a filter, such
/// as `info`.
pub fn start() {
    STARTED.call_once(|| {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(prometheus::default_registry().clone())
            .build()
            .expect("the exporter is made");
        global::set_meter_provider(SdkMeterProvider::builder().with_reader(exporter).build());

        let tracer = SdkTracerProvider::builder().build().tracer("tests");
        let ours = Targets::new().with_default(LevelFilter::INFO).with_target("lapin", LevelFilter::OFF);
        let log = env::var("TEST_LOG").ok().map(|filter| {
            let filter: Targets = filter.parse().expect("TEST_LOG is a filter");
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter)
        });
        let traces = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours);
        tracing_subscriber::registry().with(traces).with(log).init();
    });
}
