//! Runs scripts with the arguments that every one of them has.

use std::sync::Arc;

use gharvest_model::QueueName;
use gharvest_queue::{
    Policy, Result,
    clock::{Clock, milliseconds},
};
use redis::{FromRedisValue, Script};

use crate::{
    connection::{Connections, Way},
    error::queue_error,
};

/// Calls scripts on the keys of one namespace. Clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    connections: Connections,
    way: Way,
    prefix: Arc<str>,
    /// The policy as scripts read it.
    policy: Arc<str>,
    clock: Clock,
}

impl Caller {
    pub(crate) fn new(connections: Connections, prefix: String, policy: &Policy, clock: Clock) -> Self {
        let way = Way::Shared;
        Self { connections, way, prefix: prefix.into(), policy: policy_text(policy).into(), clock }
    }

    /// The same on connections that short calls do not share.
    pub(crate) fn in_bulk(&self) -> Self {
        Self { way: Way::Pooled, ..self.clone() }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Runs a script for a queue.
    pub(crate) async fn run<T: FromRedisValue + Send>(
        &self,
        operation: &'static str,
        script: &Script,
        queue: QueueName,
        arguments: &[String],
    ) -> Result<T> {
        let now = match &self.clock {
            Clock::System => String::new(),
            Clock::Manual(clock) => clock.now().to_string(),
        };
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(1).arg(&*self.prefix).arg(now).arg(&*self.policy).arg(queue.as_str());
        call.arg(arguments);
        self.connections.run(self.way, script, &call).await.map_err(|error| queue_error(operation, error))
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue + Send>(
        &self,
        operation: &'static str,
        command: &redis::Cmd,
    ) -> Result<T> {
        self.connections.command(command).await.map_err(|error| queue_error(operation, error))
    }
}

fn policy_text(policy: &Policy) -> String {
    let numbers = [
        milliseconds(policy.inactivity_delay),
        milliseconds(policy.max_delay),
        i64::from(policy.max_attempts),
        i64::from(policy.max_lost),
        milliseconds(policy.retry_shortest),
        milliseconds(policy.retry_longest),
    ];
    numbers.map(|number| number.to_string()).join("|")
}
