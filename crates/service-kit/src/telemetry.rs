//! Logs and metrics of a process.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    settings::{LogFormat, TraceSettings},
    trace,
};

/// Sends logs to stderr: words for people or one JSON object a line. `RUST_LOG` wins over the level given. Traces go
/// where the settings say.
pub fn init_logs(format: LogFormat, level: &str, traces: Option<&TraceSettings>) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => level.to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("[log] level `{filter}` is not a log filter"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
    };
    let spans = traces.map(trace::layer).transpose()?.flatten();
    let all = tracing_subscriber::registry().with(spans).with(lines.with_filter(filter));
    all.try_init().map_err(|error| anyhow::anyhow!("logs cannot be set up: {error}"))
}

/// What was recorded is summed up this often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the process's metrics recorder; the handle renders `/metrics`. To be called within the runtime.
///
/// The recorder keeps each sample of a histogram until somebody sums them up: a task does that, because nobody need ever
/// ask for `/metrics`.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?;
    let handle = builder.install_recorder().context("metrics cannot be set up")?;
    let kept_up = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            kept_up.run_upkeep();
        }
    });
    Ok(handle)
}
