//! The queue on SQLite, the embedded backend.
