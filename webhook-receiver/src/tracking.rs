//! What is tracked, as deliveries see it: a list that one task reads. A delivery waits for it only where the list says
//! nothing of a repository, and then not for long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_model::{RepositoryId, RepositoryName, tracking::Tracked};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// The list is read again after this time, so that events of what is tracked no more end.
const LIVES: Duration = Duration::from_secs(10);

/// Between two reads, however many deliveries ask for what the list does not have.
const GAP: Duration = Duration::from_millis(100);

/// So long a delivery waits for a younger list.
const PATIENCE: Duration = Duration::from_secs(1);

/// A read that has not ended after this time is begun anew.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// What matters of a tracked repository.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: RepositoryName,
    pub(crate) private: bool,
}

/// What is tracked, as it was last read.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    all: Arc<HashMap<RepositoryId, Known>>,
    /// Every question up to this one was asked before the read began.
    answers: u64,
    /// Whether it is what the latest read found; else that failed, and it is older.
    pub(crate) is_certain: bool,
}

impl List {
    /// What is known of a repository, if it is in the list.
    pub(crate) fn get(&self, id: RepositoryId) -> Option<&Known> {
        self.all.get(&id)
    }

    /// Whether a repository is tracked, or may be: without a younger list, a download that the downloader drops is better
    /// than a trigger lost.
    pub(crate) fn may_have(&self, id: RepositoryId) -> bool {
        !self.is_certain || self.all.contains_key(&id)
    }

    /// Everything in it, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RepositoryId, &Known)> {
        self.all.iter().map(|(id, known)| (*id, known))
    }
}

/// Reads the list from when it is first asked for until it is dropped.
#[derive(Debug)]
pub(crate) struct Tracking {
    questions: watch::Sender<u64>,
    lists: watch::Receiver<List>,
}

impl Tracking {
    /// What this archive tracks.
    pub(crate) fn of(archive: Archive) -> Self {
        let (questions, asked) = watch::channel(0);
        let (answer, lists) = watch::channel(List::default());
        tokio::spawn(read(archive, asked, answer));
        Self { questions, lists }
    }

    /// The list as it is, if it has all of these. Else one whose read begins from now on: a repository counts from the
    /// moment it is tracked.
    pub(crate) async fn about(&self, ids: &[RepositoryId]) -> List {
        let list = self.lists.borrow().clone();
        if ids.iter().all(|id| list.all.contains_key(id)) { list } else { self.younger().await }
    }

    /// A list whose read begins from now on; the last one, which is not certain then, if that cannot be had in time.
    pub(crate) async fn younger(&self) -> List {
        let mut question = 0;
        self.questions.send_modify(|asked| {
            *asked += 1;
            question = *asked;
        });
        let mut lists = self.lists.clone();
        let answered = matches!(timeout(PATIENCE, lists.wait_for(|list| list.answers >= question)).await, Ok(Ok(_)));
        let last = self.lists.borrow().clone();
        List { is_certain: last.is_certain && answered, ..last }
    }
}

async fn read(archive: Archive, mut questions: watch::Receiver<u64>, lists: watch::Sender<List>) {
    if questions.changed().await.is_err() {
        return;
    }
    let mut is_told = false;
    loop {
        let answers = *questions.borrow_and_update();
        let trouble = match timeout(READ_DEADLINE, archive.tracking()).await {
            Ok(Ok(tracking)) => {
                lists.send_replace(List { all: Arc::new(by_id(tracking)), answers, is_certain: true });
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the archive does not answer".to_owned()),
        };
        if let Some(error) = &trouble {
            if !is_told {
                tracing::warn!(error, "what is tracked cannot be read, deliveries go by what was read last");
            }
            lists.send_modify(|list| (list.answers, list.is_certain) = (answers, false));
        }
        is_told = trouble.is_some();
        sleep(GAP).await;
        if let Ok(Err(_)) = timeout(LIVES, questions.changed()).await {
            return;
        }
    }
}

fn by_id(tracking: Vec<Tracked>) -> HashMap<RepositoryId, Known> {
    tracking.into_iter().map(|one| (one.id, Known { name: one.name, private: one.private })).collect()
}
