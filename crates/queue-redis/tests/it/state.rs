//! What a state that an older version wrote becomes.

use gharvest_queue::ManualClock;
use gharvest_queue_redis::RedisState;
use gharvest_state::State;

use crate::support::{Namespace, Place, names};

/// Writes a value as versions did that kept its end in a hash alone.
fn write_before(url: &str, namespace: &str, name: &str, ends: Option<i64>) {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let key = |name: &str| format!("gharvest:{{{namespace}}}:state:{name}");
    let name = format!("\u{2}{name}");
    let mut write = redis::pipe();
    write.hset(key("values"), &name, "value").hset(key("versions"), &name, 1).zadd(key("names"), &name, 0);
    if let Some(ends) = ends {
        write.hset(key("ends"), &name, ends);
    }
    write.exec(&mut connection).unwrap();
}

#[tokio::test]
async fn what_an_older_version_wrote_ends_in_its_time() {
    let Some(url) = Place::Redis.url("what_an_older_version_wrote_ends_in_its_time") else { return };
    let (namespace, clock) = (Namespace::new(&url), ManualClock::default());
    let end = clock.now() + 60_000;
    for number in 0..250 {
        write_before(&url, &namespace.name, &format!("for/ever/{number}"), None);
    }
    write_before(&url, &namespace.name, "for/a/minute", Some(end));
    let state = RedisState::connect_with_clock(&url, &namespace.name, clock.clone()).await.unwrap();
    state.put("new", b"value", None, None).await.unwrap();
    assert_eq!(state.get("for/a/minute").await.unwrap().unwrap().value, b"value");
    // The older version is still at work beside this one.
    write_before(&url, &namespace.name, "for/a/minute/too", Some(end));
    clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(names(&url, &namespace.name), 253);
    state.put("new", b"value", None, None).await.unwrap();
    assert_eq!(names(&url, &namespace.name), 251);
    assert_eq!(state.get("for/ever/0").await.unwrap().unwrap().value, b"value");
}
