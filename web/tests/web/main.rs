//! The web front on embedded backends, without a socket.

mod access;
mod api;
mod mirror;
mod pages;
