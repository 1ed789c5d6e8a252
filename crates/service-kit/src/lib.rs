//! Settings, telemetry, health and signals, shared by every process.

pub mod cadence;
pub mod changes;
pub mod duration;
pub mod health;
pub mod load;
pub mod process;
pub mod serve;
pub mod service;
pub mod settings;
pub mod telemetry;
pub mod trace;

pub use settings::Settings;
