//! Messages between processes as users run them: two daemons, and guests that time themselves.

use super::{Measured, RUSH, TRIPS};
use crate::{
    cluster::{Cluster, NODES, command},
    program,
};

/// Two daemons.
pub(super) struct Nodes(Cluster);

impl Nodes {
    pub(super) fn start() -> Result<Self, String> {
        Cluster::start(&command()?).map(Self)
    }

    /// Between two processes of one node, or of two: then the second one is moved away first.
    pub(super) fn measure(&self, remote: bool, size: usize) -> Result<Measured, String> {
        let Self(cluster) = self;
        let node = NODES[usize::from(remote)];
        let (length, trips) = (size.to_string(), TRIPS.to_string());
        let millis = RUSH.as_millis().to_string();
        let asks = program::guest("rally", "rally", &[node, &length, &trips, &millis])?;
        let answers = program::guest("rally", "rally", &[])?;
        let pid = cluster.run_group(&asks, &[&answers])?;
        if remote {
            let group = pid.strip_suffix(".0").ok_or_else(|| format!("{pid} is not the first"))?;
            cluster.move_on(&format!("{group}.1"), 0)?;
        }
        let printed = cluster.finish(&pid)?;
        Measured::read(printed.lines().last().unwrap_or_default())
            .map_err(|said| format!("{said}, of {printed:?}"))
    }
}
