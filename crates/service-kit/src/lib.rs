//! Settings, telemetry, health and signals, shared by every process.

pub mod duration;
pub mod settings;

pub use settings::Settings;
