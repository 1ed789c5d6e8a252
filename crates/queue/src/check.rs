//! Which requests are refused, the same for every backend.

use std::ops::RangeInclusive;

use gharvest_model::RepositoryId;

use crate::{Error, ErrorKind, LeaseRequest, Policy, Result, Scope, Settlement, Trigger, key::Key, key::LARGEST};

/// The most jobs in one lease; a request for more gets this many.
pub const LARGEST_LEASE: usize = 1_000;
/// The most numbers in one range: GitHub's largest repository is a hundredth of it.
pub const LARGEST_RANGE: u64 = 50_000_000;
/// The longest name of a lease request, in bytes.
pub const LONGEST_REQUEST: usize = 40;
/// The longest delivery id, in bytes.
pub const LONGEST_DELIVERY: usize = 100;
/// The longest reason of a failure or a pause, in bytes; longer ones are cut.
pub const LONGEST_FAILURE: usize = 500;

fn refused(operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Refused, operation, message)
}

impl Policy {
    /// Refuses a policy under which jobs would never start, never end, or not wait as long as it says.
    pub fn validate(&self) -> Result<()> {
        let problem = if self.max_delay < self.inactivity_delay {
            format!(
                "max_delay ({:?}) is shorter than inactivity_delay ({:?}): make it at least as long",
                self.max_delay, self.inactivity_delay
            )
        } else if self.max_attempts == 0 {
            "max_attempts is 0: a job needs at least one attempt".to_owned()
        } else if self.max_lost == 0 {
            "max_lost is 0: allow at least one lost lease".to_owned()
        } else if self.retry_shortest.as_millis() == 0 {
            "retry_shortest is 0: a failing job would be tried without a pause".to_owned()
        } else if self.retry_longest < self.retry_shortest {
            format!(
                "retry_longest ({:?}) is shorter than retry_shortest ({:?})",
                self.retry_longest, self.retry_shortest
            )
        } else {
            return Ok(());
        };
        Err(refused("open", problem))
    }
}

/// The keys of triggers, if every one of them is acceptable.
pub fn triggers(triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Key>> {
    if let Some(id) = delivery
        && !(1..=LONGEST_DELIVERY).contains(&id.len())
    {
        return Err(refused("push", format!("a delivery id has 1 to {LONGEST_DELIVERY} bytes, not {}", id.len())));
    }
    triggers.iter().map(|trigger| Key::new("push", &trigger.subject)).collect()
}

/// Checks a range and says how many numbers it has.
pub fn range(repository: RepositoryId, numbers: &RangeInclusive<u64>) -> Result<u64> {
    repository_id("push_range", repository)?;
    if numbers.is_empty() {
        return Ok(0);
    }
    let count = numbers.end() - numbers.start();
    if *numbers.start() == 0 || *numbers.end() > LARGEST || count >= LARGEST_RANGE {
        let message = format!(
            "{}..={} is no range of item numbers: they begin with 1, and a range has at most {LARGEST_RANGE}",
            numbers.start(),
            numbers.end()
        );
        return Err(refused("push_range", message));
    }
    Ok(count + 1)
}

/// Checks a repository's id.
pub fn repository_id(operation: &'static str, repository: RepositoryId) -> Result<()> {
    if (1..=LARGEST).contains(&repository.0) {
        Ok(())
    } else {
        Err(refused(operation, format!("{repository} is no repository's id")))
    }
}

/// Checks a lease request and says how many jobs it gets at most.
pub fn lease(request: &LeaseRequest) -> Result<usize> {
    if request.max == 0 {
        return Err(refused("lease", "a lease of 0 jobs: ask for at least 1"));
    }
    if request.hold.as_millis() == 0 {
        return Err(refused("lease", "a lease that ends at once: hold it for at least a millisecond"));
    }
    if request.request.len() > LONGEST_REQUEST {
        return Err(refused("lease", format!("the request's name is longer than {LONGEST_REQUEST} bytes")));
    }
    if let Some(repository) = request.repository {
        repository_id("lease", repository)?;
    }
    Ok(request.max.min(LARGEST_LEASE))
}

/// The keys of settlements and of their follow-ups, if every one of them is acceptable.
pub fn settlements(settlements: &[Settlement]) -> Result<Vec<(Key, Option<Key>)>> {
    let keys = settlements.iter().map(|settlement| {
        let follow_up = settlement.follow_up.as_ref().map(|trigger| Key::new("settle", &trigger.subject));
        Ok((Key::new("settle", &settlement.subject)?, follow_up.transpose()?))
    });
    keys.collect()
}

/// Checks what is to be paused or resumed.
pub fn scope(operation: &'static str, scope: &Scope) -> Result<()> {
    match scope {
        Scope::Queue(_) => Ok(()),
        Scope::Repository(_, repository) => repository_id(operation, *repository),
    }
}

/// Where a piece of a purge begins that a backend names by the last job of the piece before.
pub fn place(operation: &'static str, after: Option<&str>) -> Result<Option<Key>> {
    let key = |text: &str| {
        let subject = text.parse().map_err(|_| no_place(operation, text))?;
        Key::new(operation, &subject)
    };
    after.map(key).transpose()
}

/// The error of a place that no piece ended at.
pub fn no_place(operation: &'static str, text: &str) -> Error {
    refused(operation, format!("`{text}` is not where an earlier piece ended: give its `next` as it was"))
}

/// The text up to `longest` bytes, never within a character.
pub fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}
