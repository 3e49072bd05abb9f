//! Connections between members: messages, images, and requests passed on.
//!
//! Each node calls each other one, and speaks on what it called: a connection has one direction,
//! so two nodes that call each other at once need no tie to be broken. Both ends are certified by
//! the cluster, and say hello first.

pub(crate) mod bulk;
pub(crate) mod dial;
mod hear;
pub(crate) mod hello;
pub(crate) mod listen;
pub(crate) mod messages;
