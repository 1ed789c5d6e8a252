//! Random operations on a backend and the model, compared.
