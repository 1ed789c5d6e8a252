//! A cluster of three nodes without replicas: what refuses keys of two slots and keys that a script does not declare.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{Make, PATIENCE, RedisServer, free_port};
use crate::skip;

/// Slots of each node, first and last.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// Three running nodes that know each other.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts a cluster. None, after saying that `test` is skipped, if there is no `redis-server` here.
    pub fn start(test: &str) -> Option<Self> {
        let mut nodes = Vec::new();
        let mut bus_ports = Vec::new();
        for _ in SLOTS {
            let bus_port = free_port();
            let bus = bus_port.to_string();
            let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            nodes.push(RedisServer::start(test, &settings)?);
            bus_ports.push(bus_port);
        }
        for (index, (node, (first, last))) in nodes.iter().zip(SLOTS).enumerate() {
            expect_ok(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            expect_ok(node, &format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for (node, bus_port) in nodes.iter().zip(&bus_ports).skip(1) {
            expect_ok(&nodes[0], &format!("CLUSTER MEET 127.0.0.1 {} {bus_port}", node.port()));
        }
        let cluster = Self { nodes };
        cluster.wait();
        Some(cluster)
    }

    /// The URL of one node, from which a client finds the others.
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    fn wait(&self) {
        let begun = Instant::now();
        let ready = |node: &RedisServer| {
            let info = node.command("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !self.nodes.iter().all(ready) {
            assert!(begun.elapsed() < PATIENCE, "the cluster does not form: {}", self.nodes[0].command("CLUSTER INFO"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn expect_ok(node: &RedisServer, command: &str) {
    let answer = node.command(command);
    assert!(answer.starts_with("+OK"), "{command}: {answer}");
}

/// The URL of a cluster that all tests of this binary share. None, after saying that `test` is skipped, if there can
/// be none.
pub fn redis_cluster(test: &str) -> Option<String> {
    static CLUSTER: OnceLock<Option<RedisCluster>> = OnceLock::new();
    // A static is asked for once, so each test that comes later has to say itself that it is skipped.
    let Some(cluster) = CLUSTER.get_or_init(|| RedisCluster::start(test)) else {
        skip(test, &Make::Installed.program().err().unwrap_or_default());
        return None;
    };
    Some(cluster.url())
}
