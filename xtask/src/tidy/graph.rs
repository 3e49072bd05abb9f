//! The crates' arrows: who may know whom, and what must not be in the graph at all.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::cargo::cargo;

/// Which of our crates each of ours may name. A new edge is a change of design, made here too.
const EDGES: [(&str, &[&str]); 15] = [
    ("api", &["wire"]),
    ("bench", &["engine", "features", "node", "programs", "transform", "wire"]),
    ("chaos", &["api", "cli", "programs"]),
    ("cli", &["api", "programs"]),
    ("engine", &["features", "transform", "wire"]),
    ("features", &[]),
    ("guest", &[]),
    ("node", &["api", "engine", "protocol", "transform", "wire"]),
    ("programs", &[]),
    ("protocol", &["wire"]),
    ("sim", &["protocol", "wire"]),
    ("transform", &[]),
    ("whimbrel", &["api", "cli", "features", "node", "programs", "transform", "wire"]),
    ("wire", &[]),
    ("xtask", &["programs"]),
];

/// What a crate must not reach, however far down: the crate, what it must not reach, and why.
const FENCES: [(&str, &[&str], &str); 7] = [
    (
        "protocol",
        &["wasmtime", "tokio", "rustls", "rustix", "getrandom"],
        "it is a pure state machine",
    ),
    (
        "wire",
        &["wasmtime", "tokio", "rustls", "rustix", "getrandom"],
        "it is bytes and nothing else",
    ),
    ("engine", &["tokio", "rustls", "hyper", "axum", "rusqlite"], "it has never heard of sockets"),
    ("transform", &["engine", "wasmtime", "rustix"], "it is a function of bytes"),
    ("cli", &["protocol", "engine", "node", "wasmtime"], "it speaks to a node by `api` alone"),
    ("api", &["protocol", "engine", "node", "wasmtime", "tokio"], "it is types"),
    ("xtask", &["wasmtime", "tokio"], "it has to start in seconds"),
];

/// What nobody may bring in: a second TLS library, or one that needs more than a C compiler.
const BANNED: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"];

pub(super) fn check(findings: &mut Vec<String>) -> Result<(), String> {
    // Only this machine's graph: another platform's crates are listed in the lock file and never built.
    let about = cargo(&["--version", "--verbose"]).read()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let text = cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .read()?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let graph = Graph::new(&metadata);
    let linked: BTreeSet<_> =
        graph.members.iter().flat_map(|member| graph.reached(member)).collect();
    for name in BANNED.iter().filter(|name| linked.contains(*name)) {
        findings.push(format!("Cargo.lock: {name} is in the graph"));
    }
    let parsers = graph.versions("wasmparser");
    if parsers.len() > 1 {
        findings.push(format!("Cargo.lock: more than one wasmparser is linked: {parsers:?}"));
    }
    for member in &graph.members {
        graph.check_edges(member, findings);
    }
    for (from, fenced, why) in FENCES {
        let reached = graph.reached(from);
        for name in fenced.iter().filter(|name| reached.contains(**name)) {
            findings.push(format!("{from} reaches {name}, but {why}"));
        }
    }
    Ok(())
}

/// The resolved graph, without what only tests and build scripts need.
struct Graph {
    /// Our crates.
    members: BTreeSet<String>,
    /// Crate id to the ids that it depends on.
    edges: HashMap<String, Vec<String>>,
    /// Crate id to name.
    names: HashMap<String, String>,
}

impl Graph {
    fn new(metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut graph =
            Self { members: BTreeSet::new(), edges: HashMap::new(), names: HashMap::new() };
        for package in list(&metadata["packages"]) {
            graph.names.insert(text(&package["id"]), text(&package["name"]));
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let normal = |dependency: &Value| {
                list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
            };
            let dependencies = list(&node["deps"])
                .iter()
                .filter(|found| normal(found))
                .map(|found| text(&found["pkg"]))
                .collect();
            graph.edges.insert(text(&node["id"]), dependencies);
        }
        graph.members = list(&metadata["workspace_members"])
            .iter()
            .map(|id| graph.names[&text(id)].clone())
            .collect();
        graph
    }

    fn check_edges(&self, member: &str, findings: &mut Vec<String>) {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == member) else {
            findings.push(format!(
                "{member}: a crate without arrows: list it in xtask's tidy and in ARCHITECTURE.md"
            ));
            return;
        };
        for named in self.next(self.id(member)).filter(|name| self.members.contains(*name)) {
            if !allowed.contains(&named) {
                findings.push(format!(
                    "{member} names {named}: an arrow that the design does not have"
                ));
            }
        }
    }

    /// Names of everything that a crate of ours reaches.
    fn reached(&self, from: &str) -> BTreeSet<&str> {
        self.below(from).into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Ids of everything that a crate of ours reaches.
    fn below(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![self.id(from)];
        while let Some(id) = open.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if reached.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        reached
    }

    /// The versions of a crate that ours link, by id.
    fn versions(&self, name: &str) -> BTreeSet<&str> {
        let linked = self.members.iter().flat_map(|member| self.below(member));
        linked.filter(|id| self.names[*id] == name).collect()
    }

    fn next(&self, id: &str) -> impl Iterator<Item = &str> {
        self.edges.get(id).into_iter().flatten().map(|id| self.names[id].as_str())
    }

    /// The id of a crate of ours; the first of that name, and ours have no namesakes.
    fn id(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(id, found)| *found == name && id.starts_with("path+"));
        found.map(|(id, _)| id.as_str()).unwrap_or_default()
    }
}
