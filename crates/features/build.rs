//! Nothing to build: it is here so that the build dependencies of this crate are part of the graph.

fn main() {}
