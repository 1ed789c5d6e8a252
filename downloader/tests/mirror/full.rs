//! An archive without room: downloads pause and say why, and nothing is buried.

use std::{sync::Arc, time::Duration};

use gharvest_archive::{
    Archive, Options,
    store::{
        self,
        faulty::{Fault, FaultyStore},
    },
};
use gharvest_model::QueueName;

use crate::world::World;

#[tokio::test]
async fn a_full_archive_pauses_downloads_until_there_is_room() {
    let mut world = World::new(12).await;
    let folder = tempfile::tempdir().unwrap();
    let place = store::open(&format!("file:{}", folder.path().display()), Duration::from_secs(60)).await.unwrap();
    let faulty = FaultyStore::new(place);
    world.archive = Archive::with_store(faulty.clone(), &Options::default()).await.unwrap();
    world.track().await;
    // At the first write of each round of work, and in the middle of one.
    for call in [1, 40] {
        faulty.fail(call, Fault::Full);
        world.work_with(Arc::clone(&world.queue) as _, |counts| counts.paused.is_some()).await;
        let counts = world.counts(QueueName::Download).await;
        let reason = counts.paused.unwrap().reason;
        assert!(reason.contains("no space is left"), "{reason}");
        assert_eq!((counts.buried, counts.leased), (0, 0));
        faulty.recover();
        world.work_with(Arc::clone(&world.queue) as _, |counts| counts.paused.is_none()).await;
    }
    world.work().await;
    assert_eq!(world.counts(QueueName::Download).await.buried, 0);
    assert_eq!(world.differences().await, Vec::<String>::new());
}
