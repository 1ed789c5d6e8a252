//! Turns the URLs of the settings into backends: the one place that names them all.
