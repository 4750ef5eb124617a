//! Logs on stdout, traces by OTLP, metrics for Prometheus; W3C trace context between services.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use opentelemetry::{global, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};
use url::Url;

use crate::config::{LogFormat, TelemetryConfig};

/// Spans of these libraries are their own housekeeping: lapin's `io_loop` never ends, and the exporter's
/// would be exported in turn.
const NOT_TRACED: [&str; 5] = ["lapin", "hyper", "reqwest", "tower", "opentelemetry"];

/// How long the last traces may take. With the drain of HTTP it has to fit into the 10 s of a shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: SdkMeterProvider,
}

/// Starts the telemetry of this process. Call it once, within a tokio runtime.
///
/// Metrics are read from `prometheus::default_registry()`, which the HTTP server shows under `/metrics`.
pub fn init(service: &'static str, config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    let resource = Resource::builder().with_service_name(service).build();
    global::set_text_map_propagator(TraceContextPropagator::new());

    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(prometheus::default_registry().clone())
        .scope_info_enabled(false)
        .build()
        .context("the Prometheus exporter")?;
    let metrics = SdkMeterProvider::builder().with_reader(exporter).with_resource(resource.clone()).build();
    global::set_meter_provider(metrics.clone());

    let traces = config.otlp_endpoint.as_ref().map(|endpoint| traces_to(endpoint, resource)).transpose()?;
    let trace_layer = traces.as_ref().map(|provider| {
        let quiet = NOT_TRACED.map(|target| (target, LevelFilter::OFF));
        let filter = Targets::new().with_default(LevelFilter::INFO).with_targets(quiet);
        tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(filter)
    });
    tracing_subscriber::registry()
        .with(log_layer(config))
        .with(trace_layer)
        .try_init()
        .context("the log is taken")?;
    Ok(Telemetry { traces, metrics })
}

impl Telemetry {
    /// Sends what is still buffered. Traces that cannot be sent are given up, and said so in the log.
    pub async fn flush(self) {
        // The exporter blocks its thread while it needs the runtime to make progress.
        let outcome = tokio::task::spawn_blocking(move || {
            let traces = self.traces.map_or(Ok(()), |provider| provider.shutdown_with_timeout(FLUSH_TIMEOUT));
            traces.and(self.metrics.shutdown())
        });
        if let Ok(Err(error)) = outcome.await {
            tracing::warn!(%error, "telemetry was not flushed");
        }
    }
}

fn traces_to(endpoint: &Url, resource: Resource) -> anyhow::Result<SdkTracerProvider> {
    // Below the base URL, as the specification of OTLP exporters has it for HTTP.
    let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(traces).build();
    let exporter = exporter.with_context(|| format!("the OTLP exporter to {endpoint}"))?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn log_layer<S>(config: &TelemetryConfig) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    // lapin logs the whole body of a message that comes back, mail addresses included.
    let filter = config.log_filter.clone().with_target("lapin::returned_messages", LevelFilter::OFF);
    match config.log_format {
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_filter(filter).boxed()
        }
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .compact()
            .with_ansi(std::io::stdout().is_terminal())
            .with_filter(filter)
            .boxed(),
    }
}
