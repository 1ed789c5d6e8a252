//! Schedules: reconcile, sweep, backfill, discovery.
