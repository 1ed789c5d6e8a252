//! The search index on embedded tantivy.
