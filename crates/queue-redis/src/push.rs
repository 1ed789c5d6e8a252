//! Pushes that wait at the same time go to Redis in one script.
//!
//! A script costs Redis a good part of what it costs to do one push with it, so a burst of deliveries is several times
//! cheaper together. Nobody waits for company: while few scripts are under way a push goes at once, and what arrives
//! meanwhile is the next group. Each push is answered after the script that did it, all of a group with its fate.

use futures::{StreamExt, stream::FuturesUnordered};
use gharvest_model::QueueName;
use gharvest_queue::{Error, ErrorKind, Pushed, Result, Trigger, key::Key};
use redis::Script;
use tokio::sync::{mpsc, oneshot};

use crate::{
    arguments::{Kind, Kinds},
    caller::Caller,
    error::unexpected,
    record::member,
};

/// The most triggers of a group: a millisecond or two of Redis' time. One push with more goes alone.
const GROUP: usize = 128;
/// Scripts under way: Redis works on one while the other is on the network.
const UNDER_WAY: usize = 2;
/// Pushes that wait; more callers wait to be let in.
const WAITING: usize = 1_024;

/// Triggers that belong together, and the delivery that brought them.
#[derive(Debug)]
pub(crate) struct Push {
    delivery: Option<String>,
    triggers: Vec<(Kind, String)>,
}

impl Push {
    pub(crate) fn new(triggers: &[Trigger], keys: &[Key], delivery: Option<&str>) -> Self {
        let triggers = triggers.iter().zip(keys).map(|(trigger, key)| (Kind::of(trigger), member(key)));
        Self { delivery: delivery.map(str::to_owned), triggers: triggers.collect() }
    }
}

/// A push and who waits for it.
type Waiting = (Push, oneshot::Sender<Result<Vec<Pushed>>>);

/// Takes pushes to Redis, in the order in which they came, as long as it lives.
#[derive(Debug)]
pub(crate) struct Pusher {
    pushes: mpsc::Sender<Waiting>,
}

impl Pusher {
    pub(crate) fn start(caller: Caller, script: Script) -> Self {
        let (pushes, waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move { take(&caller, &script, waiting).await });
        Self { pushes }
    }

    pub(crate) async fn push(&self, push: Push) -> Result<Vec<Pushed>> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::new(ErrorKind::Unavailable, "push", "the runtime that takes pushes to Redis has ended");
        self.pushes.send((push, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn take(caller: &Caller, script: &Script, mut waiting: mpsc::Receiver<Waiting>) {
    let mut under_way = FuturesUnordered::new();
    // Came while a group was gathered that had no room for it.
    let mut next: Option<Waiting> = None;
    loop {
        if next.is_none() {
            next = tokio::select! {
                biased;
                Some(()) = under_way.next() => continue,
                push = waiting.recv(), if under_way.len() < UNDER_WAY => push,
            };
        }
        // Nobody can push any more; what is under way is somebody's who still waits.
        let Some(first) = next.take() else {
            while under_way.next().await.is_some() {}
            return;
        };
        while under_way.len() >= UNDER_WAY {
            under_way.next().await;
        }
        // Who is ready to push joins the group; on an idle runtime this costs nothing.
        tokio::task::yield_now().await;
        let mut triggers = first.0.triggers.len();
        let mut group = vec![first];
        while triggers < GROUP
            && let Ok(push) = waiting.try_recv()
        {
            if triggers + push.0.triggers.len() > GROUP {
                next = Some(push);
                break;
            }
            triggers += push.0.triggers.len();
            group.push(push);
        }
        under_way.push(together(caller, script, group));
    }
}

/// Does a group in one script, and answers each.
async fn together(caller: &Caller, script: &Script, group: Vec<Waiting>) {
    let mut kinds = Kinds::default();
    let mut said = Vec::new();
    let mut answers = Vec::with_capacity(group.len());
    let mut delivered = false;
    let mut latest = 0;
    for (push, answer) in group {
        answers.push((push.triggers.len(), answer));
        // What is said of a delivery, and of a kind, counts for all triggers until another, or none, is named.
        if push.delivery.is_some() || delivered {
            said.push(format!("+{}", push.delivery.as_deref().unwrap_or_default()));
            delivered = push.delivery.is_some();
        }
        for (kind, member) in push.triggers {
            let number = kinds.number(kind);
            if number != latest {
                said.push(format!("@{number}"));
                latest = number;
            }
            said.push(member);
        }
    }
    let arguments: Vec<String> = kinds.into_arguments().chain(said).collect();
    let replies = caller.run::<String>("push", script, QueueName::Download, &arguments).await;
    let replies = replies.and_then(|letters| letters.bytes().map(pushed).collect::<Result<Vec<_>>>());
    let mut rest = replies.as_deref();
    for (triggers, answer) in answers {
        let own = match rest {
            Ok(letters) if letters.len() >= triggers => {
                let (own, others) = letters.split_at(triggers);
                rest = Ok(others);
                Ok(own.to_vec())
            }
            Ok(_) => Err(unexpected("push", "too little")),
            Err(error) => Err(error.again()),
        };
        // Who asked may have gone away; the push stands.
        drop(answer.send(own));
    }
}

fn pushed(letter: u8) -> Result<Pushed> {
    Ok(match letter {
        b'n' => Pushed::New,
        b'm' => Pushed::Merged,
        b'd' => Pushed::Dirty,
        b'r' => Pushed::Revived,
        b'x' => Pushed::Duplicate,
        other => return Err(unexpected("push", &char::from(other).to_string())),
    })
}
