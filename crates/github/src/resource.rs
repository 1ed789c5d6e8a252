//! Each resource as a documented REST endpoint: its address, its name in metrics, the budget that pays for it.

use gharvest_model::RepositoryName;
use jiff::Timestamp;
use url::Url;

use crate::{Resource, Result, Sort, base::Base};

/// Entries of a full page of a list: the most that GitHub gives, by REST and of a GraphQL connection alike
/// (<https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api>).
pub const PAGE: usize = 100;
/// The same as a parameter.
pub(crate) const PER_PAGE: (&str, &str) = ("per_page", "100");
const EVERY_STATE: (&str, &str) = ("state", "all");

impl Resource {
    /// The name in metrics: few and fixed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Repository(_) | Self::RepositoryById(_) => "repository",
            Self::Issues { .. } => "issues",
            Self::NewestIssue(_) => "newest_issue",
            Self::Issue(..) => "issue",
            Self::Timeline(..) => "timeline",
            Self::Pull(..) => "pull",
            Self::ReviewComments(..) => "review_comments",
            Self::AllComments { .. } => "all_comments",
            Self::AllReviewComments { .. } => "all_review_comments",
            Self::Labels(_) => "labels",
            Self::Milestones(_) => "milestones",
            Self::Releases(_) => "releases",
            Self::Hooks(_) => "hooks",
            Self::Deliveries(..) | Self::OrganizationDeliveries(..) | Self::AppDeliveries => "deliveries",
            Self::Delivery(..) | Self::OrganizationDelivery(..) | Self::AppDelivery(_) => "delivery",
            Self::Meta => "meta",
            Self::RateLimit => "rate_limit",
            Self::Address(_) | Self::Page(..) => "address",
        }
    }

    /// The address to ask. Only parameters that GitHub documents for the endpoint.
    pub(crate) fn address(&self, base: &Base) -> Result<Url> {
        Ok(match self {
            Self::Repository(repository) => under(base, repository, &[], &[]),
            Self::RepositoryById(id) => base.join(&["repositories", &id.to_string()], &[]),
            Self::Issues { repository, since, sort } => {
                let since = since.map(seconds);
                let sort = match sort {
                    Sort::Created => "created",
                    Sort::Updated => "updated",
                };
                let mut query = vec![EVERY_STATE, ("sort", sort), ("direction", "asc"), PER_PAGE];
                query.extend(since.as_deref().map(|since| ("since", since)));
                under(base, repository, &["issues"], &query)
            }
            Self::NewestIssue(repository) => {
                let query = [EVERY_STATE, ("sort", "created"), ("direction", "desc"), ("per_page", "1")];
                under(base, repository, &["issues"], &query)
            }
            Self::Issue(repository, number) => under(base, repository, &["issues", &number.to_string()], &[]),
            Self::Timeline(repository, number) => {
                under(base, repository, &["issues", &number.to_string(), "timeline"], &[PER_PAGE])
            }
            Self::Pull(repository, number) => under(base, repository, &["pulls", &number.to_string()], &[]),
            Self::ReviewComments(repository, number) => {
                under(base, repository, &["pulls", &number.to_string(), "comments"], &[PER_PAGE])
            }
            Self::AllComments { repository, since } => updated(base, repository, "issues", *since),
            Self::AllReviewComments { repository, since } => updated(base, repository, "pulls", *since),
            Self::Labels(repository) => under(base, repository, &["labels"], &[PER_PAGE]),
            Self::Milestones(repository) => under(base, repository, &["milestones"], &[EVERY_STATE, PER_PAGE]),
            Self::Releases(repository) => under(base, repository, &["releases"], &[PER_PAGE]),
            Self::Hooks(repository) => under(base, repository, &["hooks"], &[PER_PAGE]),
            Self::Deliveries(repository, hook) => {
                under(base, repository, &["hooks", &hook.to_string(), "deliveries"], &[PER_PAGE])
            }
            Self::Delivery(repository, hook, id) => {
                under(base, repository, &["hooks", &hook.to_string(), "deliveries", &id.to_string()], &[])
            }
            Self::OrganizationDeliveries(organization, hook) => {
                base.join(&["orgs", organization, "hooks", &hook.to_string(), "deliveries"], &[PER_PAGE])
            }
            Self::OrganizationDelivery(organization, hook, id) => {
                let segments = ["orgs", organization, "hooks", &hook.to_string(), "deliveries", &id.to_string()];
                base.join(&segments, &[])
            }
            Self::AppDeliveries => base.join(&["app", "hook", "deliveries"], &[PER_PAGE]),
            Self::AppDelivery(id) => base.join(&["app", "hook", "deliveries", &id.to_string()], &[]),
            Self::Meta => base.join(&["meta"], &[]),
            Self::RateLimit => base.join(&["rate_limit"], &[]),
            Self::Address(address) | Self::Page(_, address) => base.admit(address)?,
        })
    }

    /// The next page of this list, by the address that GitHub gave for it.
    pub fn next_page(&self, address: String) -> Self {
        match self.repository() {
            Some(name) => Self::Page(name.clone(), address),
            None => Self::Address(address),
        }
    }

    /// The repository that it is about, as far as it is known by name.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Repository(name)
            | Self::Issues { repository: name, .. }
            | Self::NewestIssue(name)
            | Self::Issue(name, _)
            | Self::Timeline(name, _)
            | Self::Pull(name, _)
            | Self::ReviewComments(name, _)
            | Self::AllComments { repository: name, .. }
            | Self::AllReviewComments { repository: name, .. }
            | Self::Labels(name)
            | Self::Milestones(name)
            | Self::Releases(name)
            | Self::Hooks(name)
            | Self::Deliveries(name, _)
            | Self::Delivery(name, ..)
            | Self::Page(name, _) => Some(name),
            Self::RepositoryById(_)
            | Self::OrganizationDeliveries(..)
            | Self::OrganizationDelivery(..)
            | Self::AppDeliveries
            | Self::AppDelivery(_)
            | Self::Meta
            | Self::RateLimit
            | Self::Address(_) => None,
        }
    }

    /// Whether what a token is shown of it says what it is shown of the repository: a repository's object is shown to
    /// tokens that may not read its items, and hooks are shown to few.
    pub(crate) fn tells_sight(&self) -> bool {
        !matches!(
            self,
            Self::Repository(_)
                | Self::RepositoryById(_)
                | Self::Hooks(_)
                | Self::Deliveries(..)
                | Self::Delivery(..)
                | Self::OrganizationDeliveries(..)
                | Self::OrganizationDelivery(..)
                | Self::Meta
                | Self::Address(_)
        )
    }

    /// The budget that pays, or none for what is free.
    pub(crate) fn budget(&self) -> Option<&'static str> {
        match self {
            Self::RateLimit => None,
            _ => Some(CORE),
        }
    }
}

/// The budget of REST.
pub(crate) const CORE: &str = "core";

fn under(base: &Base, repository: &RepositoryName, rest: &[&str], query: &[(&str, &str)]) -> Url {
    let mut segments = vec!["repos", repository.owner(), repository.name()];
    segments.extend_from_slice(rest);
    base.join(&segments, query)
}

/// A list of comments of a whole repository, by when they were updated.
fn updated(base: &Base, repository: &RepositoryName, kind: &str, since: Option<Timestamp>) -> Url {
    let since = since.map(seconds);
    let mut query = vec![("sort", "updated"), ("direction", "asc"), PER_PAGE];
    query.extend(since.as_deref().map(|since| ("since", since)));
    under(base, repository, &[kind, "comments"], &query)
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_github_documents() {
        let base = Base::parse("https://api.github.com").unwrap();
        let name: RepositoryName = "Rust-Lang/log".parse().unwrap();
        let since = Some("2026-01-02T03:04:05.678Z".parse().unwrap());
        let root = "https://api.github.com/repos/Rust-Lang/log";
        for (resource, expected) in [
            (Resource::Repository(name.clone()), String::new()),
            (
                Resource::Issues { repository: name.clone(), since, sort: Sort::Updated },
                "/issues?state=all&sort=updated&direction=asc&per_page=100&since=2026-01-02T03%3A04%3A05Z".to_owned(),
            ),
            (
                Resource::Issues { repository: name.clone(), since: None, sort: Sort::Created },
                "/issues?state=all&sort=created&direction=asc&per_page=100".to_owned(),
            ),
            (
                Resource::NewestIssue(name.clone()),
                "/issues?state=all&sort=created&direction=desc&per_page=1".to_owned(),
            ),
            (Resource::Issue(name.clone(), 7), "/issues/7".to_owned()),
            (Resource::Timeline(name.clone(), 7), "/issues/7/timeline?per_page=100".to_owned()),
            (Resource::Pull(name.clone(), 7), "/pulls/7".to_owned()),
            (Resource::ReviewComments(name.clone(), 7), "/pulls/7/comments?per_page=100".to_owned()),
            (
                Resource::AllComments { repository: name.clone(), since: None },
                "/issues/comments?sort=updated&direction=asc&per_page=100".to_owned(),
            ),
            (
                Resource::AllReviewComments { repository: name.clone(), since },
                "/pulls/comments?sort=updated&direction=asc&per_page=100&since=2026-01-02T03%3A04%3A05Z".to_owned(),
            ),
            (Resource::Labels(name.clone()), "/labels?per_page=100".to_owned()),
            (Resource::Milestones(name.clone()), "/milestones?state=all&per_page=100".to_owned()),
            (Resource::Releases(name.clone()), "/releases?per_page=100".to_owned()),
            (Resource::Hooks(name.clone()), "/hooks?per_page=100".to_owned()),
            (Resource::Deliveries(name.clone(), 7), "/hooks/7/deliveries?per_page=100".to_owned()),
            (Resource::Delivery(name.clone(), 7, 8), "/hooks/7/deliveries/8".to_owned()),
        ] {
            assert_eq!(resource.address(&base).unwrap().as_str(), format!("{root}{expected}"));
        }
    }
}
