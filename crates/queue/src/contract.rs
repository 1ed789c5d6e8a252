//! Behaviours that every backend must show.
