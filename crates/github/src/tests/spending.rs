//! What was spent, summed over processes.

use std::sync::Arc;

use super::stub::{MemoryState, client_of, client_sharing, config, issue, name, reply, start};
use crate::{Clock, Purpose, spent_so_far};

#[tokio::test(start_paused = true)]
async fn what_processes_spend_is_kept_and_summed() {
    let state = Arc::new(MemoryState::default());
    for calls in [1, 2] {
        let clock = Clock::following_tokio(start());
        let (client, _) =
            client_sharing(&config(&["token"]), Some(Arc::clone(&state) as _), clock, |_| reply(200, &[], "{}"));
        for number in 1..=calls {
            client.get(&issue(number), None, Purpose::Live).await.unwrap();
        }
        client.keep_spent().await;
        client.keep_spent().await;
    }
    let spent = spent_so_far(state.as_ref(), &name()).await.unwrap();
    assert_eq!((spent.len(), spent[&Purpose::Live].calls, spent[&Purpose::Live].graphql), (1, 3, 0));
    assert!(spent_so_far(state.as_ref(), &"rust-lang/lo".parse().unwrap()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_state_did_not_keep_is_kept_later() {
    let lost = Arc::new(MemoryState { lost: true, ..MemoryState::default() });
    let (client, _) =
        client_sharing(&config(&["token"]), Some(Arc::clone(&lost) as _), Clock::following_tokio(start()), |_| {
            reply(200, &[], "{}")
        });
    client.get(&issue(1), None, Purpose::Backfill).await.unwrap();
    client.keep_spent().await;
    assert_eq!(client.inner.spent.changed().len(), 1, "it is still to be kept");
}

#[tokio::test(start_paused = true)]
async fn calls_and_points_are_metrics_of_a_repository_and_a_purpose() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _metrics = metrics::set_default_local_recorder(&recorder);
    let (client, _) = client_of(&config(&["token"]), |seen| {
        let is_graphql = seen.uri.ends_with("/graphql");
        reply(200, &[], if is_graphql { r#"{"data":{"rateLimit":{"cost":3},"repository":{}}}"# } else { "{}" })
    });
    for number in 1..=2 {
        client.get(&issue(number), None, Purpose::Live).await.unwrap();
    }
    client.count_items(&name(), Purpose::Backfill).await.unwrap();
    let rendered = recorder.handle().render();
    for line in [
        r#"gharvest_github_calls_total{repository="rust-lang/log",purpose="live"} 2"#,
        r#"gharvest_github_points_total{repository="rust-lang/log",purpose="live"} 0"#,
        r#"gharvest_github_calls_total{repository="rust-lang/log",purpose="backfill"} 1"#,
        r#"gharvest_github_points_total{repository="rust-lang/log",purpose="backfill"} 3"#,
    ] {
        assert!(rendered.lines().any(|found| found == line), "{line}: {rendered}");
    }
}
