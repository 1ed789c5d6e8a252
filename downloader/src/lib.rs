//! Download job to GitHub to archive to index job.
