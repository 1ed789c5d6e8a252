//! Daily snapshots of the archive, so that nobody has to remember them.

use std::{path::PathBuf, time::Duration};

use gharvest_archive::{Archive, snapshot};
use gharvest_service_kit::{cadence::Cadence, settings::Settings};
use jiff::Timestamp;

use crate::Failure;

/// When snapshots are made, where they lie, and how long they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshots {
    /// When they are made; none for only when somebody asks.
    pub every: Option<Cadence>,
    /// Where they lie; none if nobody said so and the archive is no folder.
    pub folder: Option<PathBuf>,
    /// Older ones are removed after each, never the last good one.
    pub keep: Duration,
}

impl Snapshots {
    /// Snapshots as set.
    pub fn new(settings: &Settings) -> Self {
        Self {
            every: settings.seeder.snapshot_every.clone(),
            folder: settings.snapshot_folder(),
            keep: settings.seeder.snapshot_keep,
        }
    }

    /// Makes one, which may take minutes, and removes old ones. Dropped before its end it publishes nothing.
    pub(crate) async fn make(&self, archive: &Archive) -> Result<(), Failure> {
        let folder = self.folder.as_ref().ok_or(Failure::NoSnapshotFolder)?;
        let (made, manifest) = archive.snapshot(folder).await?;
        tracing::info!(file = %made.path.display(), records = manifest.records, "Snapshot is made");
        // An age longer than time itself removes nothing.
        let oldest = Timestamp::now().checked_sub(self.keep).unwrap_or(Timestamp::MIN);
        for removed in snapshot::prune(folder, oldest).await? {
            tracing::info!(file = %removed.path.display(), "Old snapshot is removed");
        }
        Ok(())
    }
}
