//! How threads come from GitHub: the seam between the flow of a job and the API that serves it.

use std::fmt;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use gharvest_archive::Repository;
use gharvest_github::{Answer, Client, Found, Listed, PAGE, Purpose, Resource};
use gharvest_model::{
    Kind, Record, RepositoryName,
    record::{Origin, Origins},
};
use serde_json::{Map, Value};

use crate::outcome::Failure;

mod graphql;

pub use graphql::GraphqlFetcher;

/// A thread that is wanted, and what is known of it already.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The item's number.
    pub number: u64,
    /// The issue object, if a list gave it since the job was triggered: it need not be asked for again.
    pub hint: Option<Listed>,
    /// The stored record, for conditional requests.
    pub known: Option<Record>,
}

/// A thread as GitHub gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Thread {
    /// GitHub's issue object.
    pub issue: Value,
    /// All pages of the timeline.
    pub timeline: Vec<Value>,
    /// GitHub's pull request object, for a pull request.
    pub pull: Option<Value>,
    /// All pages of review comments, for a pull request.
    pub review_comments: Vec<Value>,
    /// ETags by part.
    pub etags: Map<String, Value>,
    /// By which way each part came.
    pub origin: Origins,
}

impl Thread {
    /// An issue or a pull request.
    pub fn kind(&self) -> Kind {
        kind_of(&self.issue)
    }
}

/// What GitHub said about a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// The thread.
    Thread(Box<Thread>),
    /// The item was deleted.
    Deleted,
    /// Nothing is shown under the number.
    Missing,
    /// It is elsewhere.
    Moved {
        /// Where: an address.
        location: String,
    },
}

/// What came of threads: numbers, each with what GitHub said or why it could not be asked.
pub type Answers<'a> = BoxStream<'a, (u64, Result<Fetched, Failure>)>;

/// What came of archived threads that are asked for together: numbers, each with the thread as it is now; with none where
/// it is to be fetched by itself, or with why it could not be asked for yet.
pub type Comparison<'a> = BoxStream<'a, (u64, Result<Option<Box<Thread>>, Failure>)>;

/// Fetches threads of one repository.
pub trait Fetcher: fmt::Debug + Send + Sync + 'static {
    /// How many of so many threads of a repository one call serves best.
    fn batch(&self, repository: &RepositoryName, jobs: usize, purpose: Purpose) -> usize;

    /// Fetches threads; each is answered once, in any order. A failure of one is not one of the others.
    ///
    /// A thread is made when it is asked for, so whoever stores one before the next holds one.
    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a>;

    /// Whether archived threads of a repository can be asked for together.
    fn compares(&self, _repository: &RepositoryName) -> bool {
        false
    }

    /// Asks for archived threads together, each by its number and what the archive has of it; each is answered once, in
    /// any order. A thread is made when it is asked for.
    fn compare<'a>(&'a self, _repository: &'a Repository, archived: Vec<(u64, Listed)>) -> Comparison<'a> {
        stream::iter(archived).map(|(number, _)| (number, Ok(None))).boxed()
    }
}

/// An issue or a pull request: GitHub marks pull requests among issues.
pub(crate) fn kind_of(issue: &Value) -> Kind {
    if issue.get("pull_request").is_some_and(|pull| !pull.is_null()) { Kind::PullRequest } else { Kind::Issue }
}

/// Fetches by REST: issue, timeline, and for a pull request the pull request and its review comments.
#[derive(Debug, Clone)]
pub struct RestFetcher {
    client: Client,
    max_timeline_pages: usize,
}

impl Fetcher for RestFetcher {
    fn batch(&self, _repository: &RepositoryName, _jobs: usize, _purpose: Purpose) -> usize {
        1
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        let fetch =
            move |wanted: Wanted| async move { (wanted.number, self.thread(repository, wanted, purpose).await) };
        stream::iter(wanted).then(fetch).boxed()
    }
}

impl RestFetcher {
    /// A fetcher; a list of more than `max_timeline_pages` pages is an error.
    pub fn new(client: Client, max_timeline_pages: usize) -> Self {
        Self { client, max_timeline_pages }
    }

    async fn thread(&self, name: &RepositoryName, wanted: Wanted, purpose: Purpose) -> Result<Fetched, Failure> {
        let Wanted { number, hint, known } = wanted;
        if let Some(hint) = hint {
            let (issue, comments) = (hint.issue(), hint.review_comments());
            match self.around(name, number, issue, Map::new(), known.as_ref(), comments, purpose).await {
                // The rest does not fit the hint: it moved or went since, and the issue itself will say so.
                Err(Failure::Again(_)) => {}
                fetched => return fetched,
            }
        }
        let mut etags = Map::new();
        let part = known.as_ref().and_then(|known| Part::known(known, "issue", known.issue.as_ref()));
        let issue = match self.part(&Resource::Issue(name.clone(), number), part, purpose).await? {
            Ok(part) => part.keep(&mut etags, "issue"),
            Err(other) => return gone(other, number),
        };
        self.around(name, number, issue, etags, known.as_ref(), None, purpose).await
    }

    /// The rest of a thread around its issue.
    #[expect(clippy::too_many_arguments, reason = "all that may be known of a thread before it is asked for")]
    async fn around(
        &self,
        name: &RepositoryName,
        number: u64,
        issue: Value,
        etags: Map<String, Value>,
        known: Option<&Record>,
        comments: Option<Vec<Value>>,
        purpose: Purpose,
    ) -> Result<Fetched, Failure> {
        let mut etags = etags;
        let known_list = known.and_then(|known| List::known(known, "timeline", &known.timeline, known.origin.timeline));
        let timeline = self.list(Resource::Timeline(name.clone(), number), number, known_list, purpose).await?;
        let timeline = timeline.keep(&mut etags, "timeline");
        let rest = Some(Origin::Rest);
        let origin = Origins { issue: rest, timeline: rest, ..Origins::default() };
        let mut thread = Thread { issue, timeline, pull: None, review_comments: Vec::new(), etags, origin };
        if thread.kind() == Kind::PullRequest {
            self.pull(name, number, known, comments, &mut thread, purpose).await?;
        }
        Ok(Fetched::Thread(Box::new(thread)))
    }

    /// A timeline that nothing is known of yet.
    async fn timeline(
        &self,
        name: &RepositoryName,
        number: u64,
        etags: &mut Map<String, Value>,
        purpose: Purpose,
    ) -> Result<Vec<Value>, Failure> {
        let list = self.list(Resource::Timeline(name.clone(), number), number, None, purpose).await?;
        Ok(list.keep(etags, "timeline"))
    }

    async fn pull(
        &self,
        name: &RepositoryName,
        number: u64,
        known: Option<&Record>,
        comments: Option<Vec<Value>>,
        thread: &mut Thread,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        let part = known.and_then(|known| Part::known(known, "pull", known.pull.as_ref()));
        let pull = match self.part(&Resource::Pull(name.clone(), number), part, purpose).await? {
            Ok(part) => part.keep(&mut thread.etags, "pull"),
            Err(other) => return Err(disagrees("pull request", number, &other)),
        };
        // The pull request says how many there are: most have none, and a call is saved.
        let count = pull.get("review_comments").and_then(Value::as_u64);
        let is_fresh = pull.get("updated_at") == thread.issue.get("updated_at");
        match comments {
            // The list of the whole repository gave them, and nothing was said since.
            Some(comments) if is_fresh && count == Some(comments.len() as u64) => thread.review_comments = comments,
            _ if count != Some(0) => {
                let own = known.map(|known| (known, known.review_comments.as_slice()));
                let own = own
                    .and_then(|(known, own)| List::known(known, "review_comments", own, known.origin.review_comments));
                let list = self.list(Resource::ReviewComments(name.clone(), number), number, own, purpose).await?;
                thread.review_comments = list.keep(&mut thread.etags, "review_comments");
            }
            _ => {}
        }
        thread.pull = Some(pull);
        thread.origin.pull = Some(Origin::Rest);
        thread.origin.review_comments = Some(Origin::Rest);
        Ok(())
    }

    /// One object, conditionally where it is known. The outer error is a failure, the inner one another answer.
    async fn part(
        &self,
        resource: &Resource,
        known: Option<Part>,
        purpose: Purpose,
    ) -> Result<Result<Part, Answer>, Failure> {
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        Ok(match (self.client.get(resource, etag, purpose).await?, known) {
            (Answer::Found(Found { body, etag, .. }), _) => Ok(Part { value: body, etag }),
            (Answer::NotModified, Some(known)) => Ok(known),
            (other, _) => Err(other),
        })
    }

    /// A list, conditionally where it is known and one page.
    async fn list(&self, first: Resource, number: u64, known: Option<List>, purpose: Purpose) -> Result<List, Failure> {
        let etag = known.as_ref().map(|known| known.etag.as_str());
        match (self.client.get(&first, etag, purpose).await?, known) {
            (Answer::NotModified, Some(known)) => Ok(known),
            (Answer::Found(Found { body: Value::Array(all), etag, next: None, .. }), _) => {
                Ok(List { all, etag: etag.unwrap_or_default() })
            }
            (Answer::Found(Found { body: Value::Array(entries), etag, next: Some(next), .. }), _) => {
                let page = Page { resource: first, etag, entries };
                Ok(List { all: self.long_list(page, next, number, purpose).await?, etag: String::new() })
            }
            (other, _) => Err(disagrees("list", number, &other)),
        }
    }

    /// A list of several pages, of which the first was just read.
    ///
    /// When an entry goes while pages are read, those behind it move up, and one slips to a page that was read already.
    /// So all pages but the last are asked for once more, for nothing while they are the same; where other entries stand
    /// on one, the list is read anew.
    async fn long_list(&self, first: Page, next: String, number: u64, purpose: Purpose) -> Result<Vec<Value>, Failure> {
        let mut pages = vec![first];
        let mut next = Some(next);
        for _ in 0..MOST_READINGS {
            while let Some(address) = next.take() {
                if pages.len() >= self.max_timeline_pages {
                    return Err(too_long(self.max_timeline_pages));
                }
                let (page, further) = self.page(pages[0].resource.next_page(address), number, purpose).await?;
                pages.push(page);
                next = further;
            }
            match self.first_that_moved(&mut pages, number, purpose).await? {
                None => return Ok(pages.into_iter().flat_map(|page| page.entries).collect()),
                Some((place, further)) => {
                    pages.truncate(place + 1);
                    next = further;
                }
            }
        }
        Err(Failure::Again(format!("a list of #{number} changes as often as it is read")))
    }

    async fn page(&self, resource: Resource, number: u64, purpose: Purpose) -> Result<(Page, Option<String>), Failure> {
        match self.client.get(&resource, None, purpose).await? {
            Answer::Found(Found { body: Value::Array(entries), etag, next, .. }) => {
                Ok((Page { resource, etag, entries }, next))
            }
            other => Err(disagrees("list", number, &other)),
        }
    }

    /// Asks for all pages but the last again, up to the first on which other entries stand now: its place, as it is now,
    /// and the address of the page behind it.
    async fn first_that_moved(
        &self,
        pages: &mut [Page],
        number: u64,
        purpose: Purpose,
    ) -> Result<Option<(usize, Option<String>)>, Failure> {
        let before_last = pages.len() - 1;
        for (place, page) in pages[..before_last].iter_mut().enumerate() {
            match self.client.get(&page.resource, page.etag.as_deref(), purpose).await? {
                Answer::NotModified => {}
                Answer::Found(Found { body: Value::Array(entries), etag, next, .. }) => {
                    let stayed = entries.iter().map(identity).eq(page.entries.iter().map(identity));
                    (page.entries, page.etag) = (entries, etag);
                    if !stayed {
                        return Ok(Some((place, next)));
                    }
                }
                other => return Err(disagrees("list", number, &other)),
            }
        }
        Ok(None)
    }
}

/// How often a list that changes while it is read is read.
const MOST_READINGS: usize = 4;

/// A page of a list that has several.
struct Page {
    resource: Resource,
    etag: Option<String>,
    entries: Vec<Value>,
}

/// What makes an entry of a list that one and no other, whatever is edited in it.
fn identity(entry: &Value) -> [&Value; 5] {
    ["event", "id", "node_id", "sha", "created_at"].map(|field| &entry[field])
}

/// An object with the ETag that it came with.
struct Part {
    value: Value,
    etag: Option<String>,
}

impl Part {
    fn known(record: &Record, name: &str, value: Option<&Value>) -> Option<Self> {
        let etag = record.etags.get(name)?.as_str()?.to_owned();
        Some(Self { value: value?.clone(), etag: Some(etag) })
    }

    fn keep(self, etags: &mut Map<String, Value>, name: &str) -> Value {
        etags.extend(self.etag.map(|etag| (name.to_owned(), etag.into())));
        self.value
    }
}

/// A list with the ETag of its only page; empty where it has several.
struct List {
    all: Vec<Value>,
    etag: String,
}

impl List {
    /// What a record has of a list that REST gave; none where that fills its last page: what was added stands behind it,
    /// so that its ETag says nothing. The client gives none for such a page, but one may be stored from before it did so.
    fn known(record: &Record, name: &str, all: &[Value], origin: Option<Origin>) -> Option<Self> {
        let etag = record.etags.get(name)?.as_str()?.to_owned();
        let is_full = !all.is_empty() && all.len().is_multiple_of(PAGE);
        (origin == Some(Origin::Rest) && !is_full).then(|| Self { all: all.to_vec(), etag })
    }

    fn keep(self, etags: &mut Map<String, Value>, name: &str) -> Vec<Value> {
        if !self.etag.is_empty() {
            etags.insert(name.to_owned(), self.etag.into());
        }
        self.all
    }
}

/// All pages of a list, by `Link` only. The inner error is an answer that is not a page.
pub(crate) async fn list(
    client: &Client,
    first: Resource,
    most_pages: usize,
    purpose: Purpose,
) -> Result<Result<Vec<Value>, Answer>, Failure> {
    let mut all = Vec::new();
    let mut resource = first;
    for _ in 0..most_pages {
        let found = match client.get(&resource, None, purpose).await? {
            Answer::Found(found) => found,
            other => return Ok(Err(other)),
        };
        match found.body {
            Value::Array(page) => all.extend(page),
            // Some lists answer 204 without a body when there is nothing.
            Value::Null => {}
            _ => return Err(Failure::Again(format!("GitHub's answer to {resource:?} is not a list"))),
        }
        match found.next {
            Some(next) => resource = resource.next_page(next),
            None => return Ok(Ok(all)),
        }
    }
    Err(too_long(most_pages))
}

fn too_long(most_pages: usize) -> Failure {
    Failure::Hopeless(format!(
        "a list has more than {most_pages} pages: raise [downloader] max_timeline_pages if that is real"
    ))
}

fn gone(answer: Answer, number: u64) -> Result<Fetched, Failure> {
    match answer {
        Answer::Deleted => Ok(Fetched::Deleted),
        Answer::NotFound => Ok(Fetched::Missing),
        Answer::Moved { location } => Ok(Fetched::Moved { location }),
        other => Err(disagrees("issue", number, &other)),
    }
}

/// An answer that is a state of the repository, or one that does not fit the issue that was just there.
fn disagrees(what: &str, number: u64, answer: &Answer) -> Failure {
    repository_trouble(answer)
        .unwrap_or_else(|| Failure::Again(format!("the {what} of #{number} is {answer:?} although the item is there")))
}

/// What is wrong with a repository, if the answer says so.
pub(crate) fn repository_trouble(answer: &Answer) -> Option<Failure> {
    match answer {
        Answer::IssuesDisabled => Some(Failure::Repository("issues are disabled for the repository".to_owned())),
        Answer::Blocked { reason } => Some(Failure::Repository(format!("GitHub blocks the repository: {reason}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_etag_of_a_list_that_fills_its_last_page_is_not_used_whoever_stored_it() {
        let record: Record = serde_json::from_value(json!({
            "schema": 1, "repository": {"id": 7, "full_name": "owner/name"}, "number": 4, "kind": "issue", "revision": 2,
            "state": {"is": "present"}, "visibility": "public", "fetched_at": "2026-01-01T00:00:00Z",
            "changed_at": "2026-01-01T00:00:00Z", "origin": {}, "api_version": "2022-11-28",
            "etags": {"timeline": "1:x"}, "issue": {},
        }))
        .unwrap();
        let is_used = |entries: usize| {
            let all = vec![json!({"event": "labeled"}); entries];
            List::known(&record, "timeline", &all, Some(Origin::Rest)).is_some()
        };
        assert_eq!([0, 99, 100, 101].map(is_used), [true, true, false, true]);
    }
}
