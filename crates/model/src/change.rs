//! What counts as a change: canonical JSON outside a reviewed list of volatile paths.
//!
//! Only a change is stored, raises the revision and causes an index job.
