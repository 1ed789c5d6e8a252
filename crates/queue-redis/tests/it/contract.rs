//! The contracts of queue and state, and the comparison with the model, wherever they can run.

use gharvest_queue::property;

use crate::support::{Place, wakes_another_process};

/// More cases with `PROPTEST_CASES`.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(few)
}

macro_rules! suites {
    ($module:ident, $place:ident, $few:literal) => {
        mod $module {
            use super::{Place, cases, property, wakes_another_process};

            mod queue {
                use gharvest_queue::{ManualClock, Policy, contract::Fixture};

                use super::Place;

                async fn make(policy: Policy, clock: ManualClock) -> Option<Fixture> {
                    Place::$place.queue(policy, clock).await
                }

                gharvest_queue::queue_contract!(make);
            }

            mod state {
                use gharvest_state::contract::Fixture;

                use super::Place;

                async fn make() -> Option<Fixture> {
                    Place::$place.state().await
                }

                gharvest_state::state_contract!(make);
            }

            #[tokio::test]
            async fn a_push_wakes_another_process() {
                wakes_another_process(Place::$place).await;
            }

            #[test]
            fn the_queue_and_the_model_never_differ() {
                property::compare(cases($few), |policy, clock| Place::$place.queue(policy, clock));
            }
        }
    };
}

suites!(redis, Redis, 40);
suites!(redis8, Redis8, 15);
suites!(valkey, Valkey, 15);
suites!(cluster, Cluster, 15);
