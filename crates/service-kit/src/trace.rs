//! Traces: spans of the work, posted to a collector by OTLP over HTTP where `[trace] url` names one.
//!
//! A trace follows one job through all processes: the delivery of a webhook, the download that it caused, the indexing
//! that the download caused. What carries it is a reason of the job: the W3C `traceparent` of the span that asked for it
//! (see [`parent_of_next`] and [`follow`]), so queues know nothing of traces. A job that was asked for several times
//! belongs to one of the traces and links to the others.
//!
//! Metrics: `gharvest_trace_exports_total` (`result`).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::settings::TraceSettings;

/// For one batch of spans.
const PATIENCE: Duration = Duration::from_secs(10);
/// At the end of a process, for the last of them.
const FLUSH: Duration = Duration::from_secs(5);

/// What keeps the spans of this process until they are sent; not set where nothing is traced.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that turns our own spans into traces; none if the settings name no collector. Called inside the runtime.
pub(crate) fn layer<S>(settings: &TraceSettings) -> anyhow::Result<Option<impl Layer<S> + use<S>>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if settings.url.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new()?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.url.trim_end_matches('/')))
        .build()
        .context("[trace] url")?;
    let program = std::env::current_exe().ok();
    let program = program.as_ref().and_then(|path| path.file_stem()?.to_str()).unwrap_or("gharvest").to_owned();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(program).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.share))))
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("gharvest");
    drop(PROVIDER.set(provider));
    // Not those of libraries, of which there are many.
    let ours = Targets::new().with_target("gharvest", LevelFilter::INFO);
    Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_filter(ours)))
}

/// Whether anything is traced: spans for traces alone are not made otherwise.
pub fn is_on() -> bool {
    PROVIDER.get().is_some()
}

/// Sends what has not been sent yet.
pub(crate) async fn flush() {
    let Some(provider) = PROVIDER.get().cloned() else { return };
    // It waits without the runtime, which has to go on meanwhile: it sends.
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::debug!("The last spans could not be sent");
    }
}

/// What a job that this span asks for carries among its reasons; none if the span is not traced.
pub fn parent_of_next(span: &Span) -> Option<String> {
    if !is_on() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    let is_kept = context.is_valid() && context.is_sampled();
    is_kept.then(|| format!("00-{}-{}-01", context.trace_id(), context.span_id()))
}

/// Makes a span that has just been made the child of whatever asked for the job, as far as its reasons say it.
pub fn follow<'a>(span: &Span, reasons: impl IntoIterator<Item = &'a str>) {
    let mut parents = reasons.into_iter().filter_map(parse);
    let Some(first) = parents.next() else { return };
    // It fails only where nothing is traced.
    drop(span.set_parent(Context::new().with_remote_span_context(first)));
    parents.for_each(|other| span.add_link(other));
}

/// Whether a reason says what asked for its job.
pub fn is_parent(reason: &str) -> bool {
    parse(reason).is_some()
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.strip_prefix("00-")?.strip_suffix("-01")?.splitn(2, '-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    let context = SpanContext::new(trace.into(), span.into(), TraceFlags::SAMPLED, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// Posts to the collector through the runtime: the thread on which spans are gathered is none of it.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    is_away: AtomicBool,
}

impl Collector {
    fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        Ok(Self { http: http.build()?, runtime: Handle::try_current()?, is_away: AtomicBool::new(false) })
    }

    /// Said once, and once more when it is over: spans that are lost are no reason to fill the log.
    fn note(&self, failure: Option<String>) {
        let result = if failure.is_none() { "sent" } else { "failed" };
        metrics::counter!("gharvest_trace_exports_total", "result" => result).increment(1);
        match (failure, self.is_away.load(Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(error, "The collector in [trace] url takes no traces"),
            (None, true) => tracing::info!("The collector in [trace] url takes traces again"),
            _ => return,
        }
        self.is_away.fetch_xor(true, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self.http.post(parts.uri.to_string()).headers(parts.headers).body(body);
        let sent = self.runtime.spawn(async move {
            let answer = request.send().await?.error_for_status()?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let answer = sent.await?;
        self.note(answer.as_ref().err().map(ToString::to_string));
        let (status, body) = answer?;
        Ok(Response::builder().status(status).body(body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asked_for_a_job_is_read_from_a_reason_of_its_own() {
        let known = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(known.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((known.span_id().to_string().as_str(), known.is_sampled()), ("00f067aa0ba902b7", true));
        for other in
            ["issues", "00-", "00-x-y-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00-1-01"]
        {
            assert!(!is_parent(other), "{other}");
        }
        assert_eq!(parent_of_next(&Span::none()), None);
    }
}
