//! The laws of the rules: how requests merge, when they are due, how long a failed job pauses.

use std::time::Duration;

use gharvest_model::Lane;
use gharvest_queue::{
    Policy,
    clock::milliseconds,
    rules::{MOST_REASONS, NEVER, Record, Request, backoff},
};
use proptest::prelude::*;

fn request() -> impl Strategy<Value = Request> {
    let time = || 1_000_000_i64..2_000_000;
    let times = prop_oneof![1 => Just(None), 3 => (time(), 0_i64..100_000).prop_map(Some)];
    let due = prop_oneof![Just(0), Just(NEVER), time()];
    let reasons = proptest::collection::btree_set("[a-l]", 0..=MOST_REASONS);
    (proptest::sample::select(Lane::ALL.to_vec()), times, due, reasons).prop_map(|(lane, times, hard_due, reasons)| {
        Request {
            lane,
            first_at: times.map(|(first, _)| first),
            last_at: times.map(|(first, more)| first + more),
            hard_due,
            reasons: reasons.into_iter().collect(),
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    (0_u64..100_000, 0_u64..1_000_000, 1_u64..100_000, 0_u64..10_000_000).prop_map(|(delay, more, shortest, longer)| {
        Policy {
            inactivity_delay: Duration::from_millis(delay),
            max_delay: Duration::from_millis(delay + more),
            retry_shortest: Duration::from_millis(shortest),
            retry_longest: Duration::from_millis(shortest + longer),
            ..Policy::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_triggers_does_not_matter(a in request(), b in request()) {
        prop_assert_eq!(a.clone().join(b.clone()), b.join(a));
    }

    #[test]
    fn how_triggers_are_grouped_does_not_matter(a in request(), b in request(), c in request()) {
        let left = a.clone().join(b.clone()).join(c.clone());
        prop_assert_eq!(left, a.join(b.join(c)));
    }

    #[test]
    fn a_trigger_twice_is_a_trigger_once(a in request(), b in request()) {
        let joined = a.join(b.clone());
        prop_assert_eq!(joined.clone().join(b), joined.clone());
        prop_assert_eq!(joined.clone().join(joined.clone()), joined);
    }

    #[test]
    fn merging_is_never_less_urgent_and_never_beyond_a_ceiling(a in request(), b in request(), policy in policy()) {
        let joined = a.clone().join(b.clone());
        prop_assert!(joined.lane <= a.lane && joined.lane <= b.lane);
        prop_assert!(joined.hard_due <= a.hard_due && joined.hard_due <= b.hard_due);
        for part in [&a, &b] {
            if let Some(first) = part.first_at {
                prop_assert!(joined.due(&policy) <= first + milliseconds(policy.max_delay));
            }
        }
    }

    #[test]
    fn due_is_after_silence_but_never_beyond_the_ceiling(request in request(), policy in policy()) {
        let expected = match (request.first_at, request.last_at) {
            (Some(first), Some(last)) => {
                let silence = last + milliseconds(policy.inactivity_delay);
                let ceiling = first + milliseconds(policy.max_delay);
                request.hard_due.min(silence.min(ceiling))
            }
            _ => request.hard_due,
        };
        prop_assert_eq!(request.due(&policy), expected);
    }

    #[test]
    fn a_job_waits_exactly_until_it_is_due(request in request(), policy in policy(), now in 900_000_i64..2_500_000) {
        let due = request.due(&policy);
        let record = Record::new(request, now, &policy);
        prop_assert_eq!(record.ready_lane().is_some(), due <= now);
        prop_assert_eq!(record.at, (due > 0).then_some(due));
    }

    #[test]
    fn a_pause_is_between_half_and_all_of_its_doubling(attempts in 0_u32..100, name in ".{0,40}", policy in policy()) {
        let (shortest, longest) = (milliseconds(policy.retry_shortest), milliseconds(policy.retry_longest));
        let mut full = i128::from(shortest);
        for _ in 1..attempts {
            full = (full * 2).min(i128::from(longest));
        }
        let pause = i128::from(backoff(&policy, attempts, &name));
        prop_assert!(full / 2 <= pause && pause <= full.min(i128::from(longest)), "{} of {}", pause, full);
        prop_assert_eq!(backoff(&policy, attempts, &name), backoff(&policy, attempts, &name));
    }

    #[test]
    fn pauses_after_two_more_attempts_are_no_shorter(attempts in 1_u32..60, name in ".{0,40}", policy in policy()) {
        // A doubling more can be shorter by its jitter, as half of the double is the whole; but never two more, until
        // the longest is reached.
        let longest = milliseconds(policy.retry_longest);
        let later = backoff(&policy, attempts + 2, &name);
        prop_assert!(later >= backoff(&policy, attempts, &name) || later >= longest / 2);
    }
}

/// Jobs that failed together do not return together.
#[test]
fn pauses_of_many_jobs_spread_over_the_whole_half() {
    let policy = Policy::default();
    let pauses: Vec<i64> = (1..=1_000).map(|number| backoff(&policy, 5, &format!("1#{number}"))).collect();
    let (half, full) = (120_000, 240_000);
    for tenth in 0..10 {
        let from = half + tenth * (full - half) / 10;
        let within = pauses.iter().filter(|pause| (from..from + (full - half) / 10).contains(*pause)).count();
        assert!((40..=200).contains(&within), "{within} of 1,000 pauses between {from} and the next tenth");
    }
}
