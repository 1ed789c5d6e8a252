//! What stands where, as gauges: jobs that were buried, and the latest snapshot.
//!
//! Every seeder looks, leader or not: a figure that only the leader gave would stay as it was in one that leads no more.
//!
//! Metrics: `gharvest_jobs_buried` (`queue`), `gharvest_snapshot_timestamp_seconds`: when the latest snapshot in the folder
//! was made, whoever made it; 0 for none.

use std::{path::PathBuf, sync::Arc, time::Duration};

use gharvest_archive::snapshot;
use gharvest_model::QueueName;
use gharvest_queue::QueueAdmin;
use gharvest_service_kit::settings::Settings;
use metrics::gauge;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Looks at what stands where.
#[derive(Debug)]
pub struct Levels {
    queue: Arc<dyn QueueAdmin>,
    snapshots: Option<PathBuf>,
}

impl Levels {
    /// Of this queue, and of the snapshots' folder as set.
    pub fn new(queue: Arc<dyn QueueAdmin>, settings: &Settings) -> Self {
        Self { queue, snapshots: settings.snapshot_folder() }
    }

    /// One look. What cannot be seen stays as it was, and is said.
    pub async fn look(&self) {
        for name in QueueName::ALL {
            match self.queue.counts(name).await {
                Ok(counts) => gauge!("gharvest_jobs_buried", "queue" => name.as_str()).set(counts.buried as f64),
                Err(error) => tracing::warn!(queue = %name, %error, "Buried jobs cannot be counted"),
            }
        }
        let Some(folder) = &self.snapshots else { return };
        match snapshot::list(folder).await {
            Ok(snapshots) => {
                let latest = snapshots.first().map_or(0, |snapshot| snapshot.created_at.as_second());
                gauge!("gharvest_snapshot_timestamp_seconds").set(latest as f64);
            }
            Err(error) => tracing::warn!(%error, "Snapshots cannot be listed"),
        }
    }
}

/// Looks until `shutdown`.
pub async fn run(levels: Levels, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let looking = async {
        loop {
            looks.tick().await;
            levels.look().await;
        }
    };
    shutdown.run_until_cancelled(looking).await;
}

#[cfg(test)]
mod tests {
    use gharvest_archive::Archive;
    use gharvest_model::{Lane, RepositoryId, Subject};
    use gharvest_queue::{
        LeaseRequest, Outcome, Policy, Queue, Settlement, Timing, Trigger, clock::ManualClock, model::MemoryQueue,
    };

    use super::*;

    async fn bury(queue: &MemoryQueue) {
        let (name, subject) = (QueueName::Download, Subject::item(RepositoryId(7), 1));
        let trigger = Trigger {
            queue: name,
            subject: subject.clone(),
            lane: Lane::Manual,
            timing: Timing::Now,
            reason: "test".to_owned(),
        };
        queue.push(&[trigger], None).await.unwrap();
        let (request, hold) = (String::new(), Duration::from_secs(60));
        let request = LeaseRequest { queue: name, max: 1, hold, request, repository: None };
        let token = queue.lease(&request).await.unwrap().lease.unwrap().token;
        let outcome = Outcome::Bury { reason: "hopeless".to_owned() };
        queue.settle(name, token, &[Settlement { subject, outcome, follow_up: None }]).await.unwrap();
    }

    #[tokio::test]
    async fn what_stands_where_is_said_from_the_first_look_on() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _metrics = metrics::set_default_local_recorder(&recorder);
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        let snapshots = folder.path().join("snapshots");
        let levels = Levels { queue: Arc::clone(&queue) as _, snapshots: Some(snapshots.clone()) };
        let says = |line: &str| recorder.handle().render().lines().any(|found| found == line);

        levels.look().await;
        assert!(says("gharvest_jobs_buried{queue=\"download\"} 0") && says("gharvest_snapshot_timestamp_seconds 0"));
        bury(&queue).await;
        // As a timer of the system does, or a person.
        let (made, _) = archive.snapshot(&snapshots).await.unwrap();
        levels.look().await;
        assert!(says("gharvest_jobs_buried{queue=\"download\"} 1") && says("gharvest_jobs_buried{queue=\"index\"} 0"));
        assert!(says(&format!("gharvest_snapshot_timestamp_seconds {}", made.created_at.as_second())));
    }
}
