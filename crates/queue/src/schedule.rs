//! Whose turn it is: stride scheduling between lanes, virtual time between the repositories of a lane.
//!
//! Each lane has a pass that grows by `items x stride` as it is served, with a stride inverse to its weight; the lane
//! with the smallest pass is next. A lane that was idle begins at the pass of the lane served last, so it saves up no
//! credit. Within a lane each repository with ready jobs has a virtual time that grows by the jobs it got; the
//! smallest is next, and who joins begins at the virtual time of who was served last.

use gharvest_model::Lane;
use serde::{Deserialize, Serialize};

/// The lanes' scheduling state of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Each lane's pass.
    pub pass: [u64; 5],
    /// The pass of the lane that was served last.
    pub served: u64,
    /// Each lane's virtual time: that of the repository served last, before it was served.
    pub ring: [u64; 5],
}

impl Schedule {
    /// How much a job costs its lane: 1 in the lane with the greatest weight.
    pub fn stride(lane: Lane) -> u64 {
        Lane::Webhook.weight() / lane.weight()
    }

    /// The lane whose turn it is among those given; the more urgent one where passes are equal.
    pub fn choose(&self, lanes: impl IntoIterator<Item = Lane>) -> Option<Lane> {
        lanes.into_iter().min_by_key(|lane| (self.current_pass(*lane), *lane))
    }

    fn current_pass(&self, lane: Lane) -> u64 {
        self.pass[lane.index()].max(self.served)
    }

    /// The lane's turn began: it, and `repository_time` in it, are now what joining ones begin at. Not called when
    /// a lease asks for one repository, which takes no turn.
    pub fn begin_turn(&mut self, lane: Lane, repository_time: u64) {
        self.served = self.current_pass(lane);
        self.ring[lane.index()] = self.ring[lane.index()].max(repository_time);
    }

    /// Charges jobs to the lane they were taken from, and says the new virtual time of their repository there.
    pub fn charge(&mut self, lane: Lane, repository_time: u64, jobs: u64) -> u64 {
        self.pass[lane.index()] = self.current_pass(lane) + jobs * Self::stride(lane);
        repository_time.max(self.ring[lane.index()]) + jobs
    }
}
