//! How fast queues are: jobs finished a minute, from what their counters said when they were last looked at.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gharvest_model::QueueName;
use jiff::Timestamp;

/// Rates are of this long a time, at most.
const WINDOW: Duration = Duration::from_secs(600);
/// Counters are remembered this often.
const STEP: Duration = Duration::from_secs(10);

/// What the counter of finished jobs of a queue said lately, and when.
type Seen = VecDeque<(Timestamp, u64)>;

/// What counters of finished jobs said lately.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates(Arc<Mutex<HashMap<QueueName, Seen>>>);

impl Rates {
    /// Jobs finished a minute in the last ten minutes, or since somebody first asked; none at the first time.
    pub(crate) fn finished_a_minute(&self, queue: QueueName, finished: u64, now: Timestamp) -> Option<f64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(queue).or_default();
        let since = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
        // A queue that was purged begins again.
        seen.retain(|(at, count)| since(*at) <= WINDOW && *count <= finished);
        if seen.back().is_none_or(|(at, _)| since(*at) >= STEP) {
            seen.push_back((now, finished));
        }
        let (at, count) = *seen.front()?;
        let minutes = since(at).as_secs_f64() / 60.0;
        (minutes > 0.0).then(|| ((finished - count) as f64 / minutes * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_known_at_the_second_look_and_of_ten_minutes() {
        let rates = Rates::default();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let look = |finished, seconds| rates.finished_a_minute(QueueName::Index, finished, at(seconds));
        assert_eq!(look(100, 0), None);
        assert_eq!(look(100, 0), None);
        assert_eq!(look(130, 60), Some(30.0));
        assert_eq!(rates.finished_a_minute(QueueName::Download, 5, at(60)), None);
        assert_eq!(look(730, 660), Some(60.0));
        // Purged.
        assert_eq!(look(0, 700), None);
    }
}
