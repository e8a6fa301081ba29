//! The control socket: HTTP/1.1 with JSON, on a UNIX socket or on loopback. A
//! thread of its own talks with clients; control answers, because it owns what
//! requests ask for.
//!
//! * `listener`: the socket, and its file
//! * `routes`: which requests there are
//! * `server`: clients, and their limits
//!
//! `control::desk` makes the answers, `control::metrics` the one to Prometheus.

mod listener;
mod routes;
mod server;

pub use listener::Listener;
pub use routes::Ask;
pub use server::{Answer, Call, Calls, serve};
