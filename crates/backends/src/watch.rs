//! Whether the queue answers, for processes that lease nothing: those would not notice before they need it.

use std::{sync::Arc, time::Duration};

use gharvest_model::QueueName;
use gharvest_queue::Queue;
use metrics::gauge;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// A queue that answers later than this is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks until `shutdown` whether the queue answers. Says it in the log where that changes, and as `gharvest_queue_up`.
pub async fn watch_queue(queue: Arc<dyn Queue>, shutdown: CancellationToken) {
    watch(|| trouble(Arc::clone(&queue)), shutdown).await;
}

/// The same for whatever says what is wrong.
async fn watch<F: Future<Output = Option<String>>>(look: impl Fn() -> F, shutdown: CancellationToken) {
    let mut was_up = true;
    loop {
        let Some(trouble) = shutdown.run_until_cancelled(look()).await else { return };
        match &trouble {
            Some(error) if was_up => tracing::error!(error, "the queue does not answer"),
            None if !was_up => tracing::info!("the queue answers again"),
            _ => {}
        }
        was_up = trouble.is_none();
        for name in QueueName::ALL {
            gauge!("gharvest_queue_up", "queue" => name.as_str()).set(f64::from(u8::from(was_up)));
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

async fn trouble(queue: Arc<dyn Queue>) -> Option<String> {
    match tokio::time::timeout(PATIENCE, queue.now()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_goes_away_and_comes_back_is_a_metric() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _metrics = metrics::set_default_local_recorder(&recorder);
        let shutdown = CancellationToken::new();
        let (away, looks) = (Cell::new(false), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            std::future::ready(away.get().then(|| "gone".to_owned()))
        };
        let person = async {
            for up in [true, false, true] {
                away.set(!up);
                // In the middle between two looks.
                tokio::time::sleep(EVERY).await;
                let rendered = recorder.handle().render();
                for name in ["download", "index"] {
                    let line = format!("gharvest_queue_up{{queue=\"{name}\"}} {}\n", u8::from(up));
                    assert!(rendered.contains(&line), "{line}: {rendered}");
                }
            }
            shutdown.cancel();
        };
        let (_, ()) = tokio::join!(watch(look, shutdown.clone()), async {
            tokio::time::sleep(EVERY / 2).await;
            person.await;
        });
        assert_eq!(looks.get(), 4);
    }
}
