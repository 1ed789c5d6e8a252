//! A simulated GitHub for tests, benchmarks and the demo.
//!
//! It serves a [`World`] over HTTP as GitHub documents its REST API: budgets, ETags, cursors, redirects, errors. It is
//! strict: what GitHub documents as wrong is answered with an error and remembered as a [`Violation`]. A [`Control`]
//! injects faults, changes the world, sends webhooks, and tells the [`Truth`] that a mirror must end up with.
//!
//! ```no_run
//! use gharvest_github_simulator::{Change, Options, Simulator, World};
//!
//! let repository = "lumen/lumen".parse().unwrap();
//! let simulator = Simulator::start(World::generated(1, repository, 2_000), Options::default())?;
//! let control = simulator.control();
//! println!("{}", simulator.api_url());
//! # let repository = "lumen/lumen".parse().unwrap();
//! control.change(&repository, Change::Comment { number: 1, body: "Hello".to_owned() }).unwrap();
//! assert!(control.violations().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # How it works
//! A generated item is a function of (seed, number): [`script`] decides what happens to it, [`render`] makes GitHub's
//! documents of that when asked. Only changed items are kept as documents. Addresses, people, labels, milestones and
//! copies of other items are placeholders ([`token`]) until an answer is sent.
//!
//! # Where it differs from GitHub, on purpose
//! - The ETag covers the body with its volatile fields at rest: so an answer can be 304 although those fields move in
//!   every 200. On GitHub such an answer would be 200.
//! - API and web pages share one address.

mod change;
mod control;
mod edits;
mod fault;
mod feed;
mod graph;
mod graphql;
mod hooks;
mod limits;
mod live;
mod lock;
mod node_id;
mod objects;
mod options;
mod pages;
mod people;
mod random;
mod recorded;
mod render;
mod repository;
mod routes;
mod script;
mod server;
mod simulator;
mod state;
mod text;
mod token;
mod webhook;
mod world;

pub use change::{Announcement, Change, ChangeError};
pub use control::{Control, Truth};
pub use fault::{Fault, GraphqlError, Rule, Withheld};
pub use options::{Options, Token};
pub use server::{Exchange, Violation};
pub use simulator::Simulator;
pub use webhook::{Delivery, ORGANIZATION_HOOK, Webhook, signature};
pub use world::World;

/// Every endpoint that is served: method, GitHub's path template, query parameters. For comparing with GitHub's own
/// description.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str])> {
    routes::ROUTES.iter().map(|route| (route.method, route.template, route.parameters))
}
