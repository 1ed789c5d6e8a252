//! Verify, classify, make durable, answer 202.
