//! What is in memory at once: one thread of a batch, however large the batch is.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt, stream};
use gharvest_archive::Archive;
use gharvest_downloader::{
    Downloader,
    fetch::{Answers, Fetcher, RestFetcher, Wanted},
};
use gharvest_github::Purpose;
use gharvest_model::{QueueName, RepositoryId, RepositoryName, Subject, ledger::NumberState};
use gharvest_queue::{QueueAdmin, model::MemoryQueue};
use tokio_util::sync::CancellationToken;

use crate::{nothing_but_lossy, world::World};

/// Looks, before it makes a thread, whether the one before is stored and settled.
#[derive(Debug)]
struct OneByOne {
    rest: RestFetcher,
    archive: Archive,
    queue: Arc<MemoryQueue>,
    id: RepositoryId,
    largest_batch: AtomicUsize,
    still_held: Mutex<Vec<u64>>,
}

impl OneByOne {
    async fn is_over(&self, number: u64) -> bool {
        let state = self.archive.ledger(self.id).await.unwrap().get(number).state;
        let job = self.queue.job(QueueName::Download, &Subject::item(self.id, number)).await.unwrap();
        state != NumberState::Unknown && job.is_none()
    }
}

impl Fetcher for OneByOne {
    fn batch(&self, _repository: &RepositoryName, jobs: usize, _purpose: Purpose) -> usize {
        jobs
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        self.largest_batch.fetch_max(wanted.len(), Ordering::Relaxed);
        let before = [None].into_iter().chain(wanted.iter().map(|wanted| Some(wanted.number)));
        let before: Vec<Option<u64>> = before.collect();
        let fetch = move |(wanted, before): (Wanted, Option<u64>)| async move {
            if let Some(before) = before
                && !self.is_over(before).await
            {
                self.still_held.lock().unwrap().push(before);
            }
            self.rest.fetch(repository, vec![wanted], purpose).next().await.unwrap()
        };
        stream::iter(wanted.into_iter().zip(before)).then(fetch).boxed()
    }
}

#[tokio::test]
async fn each_thread_of_a_batch_is_stored_and_settled_before_the_next_is_made() {
    let mut world = World::new(120).await;
    world.options.worker.batch = 50;
    let fetcher = Arc::new(OneByOne {
        rest: RestFetcher::new(world.client.clone(), world.options.max_timeline_pages),
        archive: world.archive.clone(),
        queue: Arc::clone(&world.queue),
        id: world.id,
        largest_batch: AtomicUsize::new(0),
        still_held: Mutex::default(),
    });
    let (queue, client) = (Arc::clone(&world.queue), world.client.clone());
    let downloader = Downloader::new(queue, world.archive.clone(), client, world.options.clone());
    let downloader = Arc::new(downloader.with_fetcher(Arc::clone(&fetcher) as _));
    world.track().await;
    let shutdown = CancellationToken::new();
    let (queue, worker) = (Arc::clone(&world.queue), world.options.worker.clone());
    let running = gharvest_worker::run(queue, downloader, worker, shutdown.clone());
    world.until(|counts| counts.outstanding() == 0, running, shutdown).await;
    nothing_but_lossy(&world).await;
    assert_eq!(*fetcher.still_held.lock().unwrap(), Vec::<u64>::new());
    assert!(fetcher.largest_batch.load(Ordering::Relaxed) > 20, "there were large batches");
}
