//! The life of one generated item as a short list of steps, made from (seed, number) alone.
//!
//! A script holds no texts and is cheap: a world of 150,000 items runs through all of them once, to know what is open
//! and when it was last updated, and keeps only that summary. Documents are rendered from the script when asked for.

use fastrand::Rng;
use gharvest_model::Kind;

use crate::{
    people::{ACTIONS, COPILOT, DEPENDABOT, People},
    random::{mix, pick, stream},
    text::{LABELS, MILESTONES},
};

/// When the first item of a generated repository was opened: 2016-03-01.
pub(crate) const WORLD_START: i64 = 1_456_790_400;
/// When its generated history ends: 2026-11-01. Everything later is a change made while the simulator runs.
pub(crate) const WORLD_END: i64 = 1_793_491_200;
const DAY: i64 = 86_400;

/// Why a number below the highest shows no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    Deleted,
    Transferred,
    Hidden,
    Discussion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Comment,
    Labeled(u16),
    Unlabeled(u16),
    Assigned(u64),
    Unassigned(u64),
    Milestoned(u16),
    Demilestoned(u16),
    Renamed,
    Closed {
        reason: Option<&'static str>,
        by_commit: bool,
    },
    Reopened,
    Locked(Option<&'static str>),
    CrossReference {
        repository: u64,
        number: u64,
    },
    Referenced,
    Committed,
    Reviewed {
        state: &'static str,
        comments: u16,
    },
    ForcePushed,
    ReviewRequested {
        person: Option<u64>,
        removed: bool,
    },
    ReviewDismissed,
    Merged,
    LineCommented,
    CommitCommented,
    /// `sub_issue_added` and the like: the event and the other item's number.
    Related(&'static str, u64),
    IssueType(&'static str),
    Project(&'static str),
    /// Any event that has the common keys only, and those that no one has described yet.
    Plain(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) at: i64,
    pub(crate) actor: Option<u64>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) created: i64,
    /// `None` is a deleted account.
    pub(crate) author: Option<u64>,
    pub(crate) duplicate_of: Option<u64>,
    pub(crate) steps: Vec<Step>,
}

/// What all scripts of one repository share.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) seed: u64,
    pub(crate) repository: u64,
    pub(crate) highest: u64,
    /// The one very long thread of a large repository.
    pub(crate) longest: u64,
    /// Another repository that cross references come from.
    pub(crate) neighbour: u64,
}

impl Plot {
    /// A repository with exactly this many items, and the gaps that a living one has between them.
    pub(crate) fn new(seed: u64, repository: u64, neighbour: u64, items: u64) -> Self {
        let mut plot = Self { seed, repository, highest: 0, longest: 0, neighbour };
        let mut present = 0;
        while present < items {
            plot.highest += 1;
            present += u64::from(plot.gap(plot.highest).is_none());
        }
        if items >= 500 {
            plot.longest = (plot.highest * 2 / 5..).find(|number| plot.gap(*number).is_none()).unwrap_or(0);
        }
        plot
    }

    pub(crate) fn gap(&self, number: u64) -> Option<Gap> {
        match mix(self.seed, &[1, self.repository, number]) % 1000 {
            _ if number <= 12 => None,
            0..6 => Some(Gap::Deleted),
            6..10 => Some(Gap::Transferred),
            10..13 => Some(Gap::Hidden),
            13..33 => Some(Gap::Discussion),
            _ => None,
        }
    }

    pub(crate) fn random(&self, number: u64, purpose: u64) -> Rng {
        stream(self.seed, &[purpose, self.repository, number])
    }

    pub(crate) fn kind(&self, number: u64) -> Kind {
        let pull = mix(self.seed, &[2, self.repository, number]) % 100 < 42;
        let issue = number == 5 || number == self.longest || number == 1;
        if (pull || number == 2) && !issue { Kind::PullRequest } else { Kind::Issue }
    }

    /// Opened in the order of numbers, faster as the project grows.
    pub(crate) fn created(&self, number: u64) -> i64 {
        let place = |number: u64| {
            let share = number as f64 / (self.highest + 1) as f64;
            (share.powf(0.8) * (WORLD_END - WORLD_START) as f64) as i64
        };
        let room = (place(number + 1) - place(number)).max(1) as u64;
        WORLD_START + place(number) + (mix(self.seed, &[3, self.repository, number]) % room) as i64
    }

    pub(crate) fn script(&self, number: u64, people: &People) -> Script {
        let mut random = self.random(number, 4);
        let kind = self.kind(number);
        let author = match (kind, random.u8(..40)) {
            (_, 0) => None,
            (Kind::PullRequest, 1..5) => Some(DEPENDABOT),
            (Kind::PullRequest, 5..20) => Some(people.member(&mut random)),
            (Kind::PullRequest, 20) => Some(COPILOT),
            _ => Some(people.anybody(&mut random)),
        };
        let created = self.created(number);
        let mut life = Life { plot: self, people, number, author, random, steps: Vec::new(), pushed: 0 };
        let duplicate_of = match kind {
            Kind::Issue => life.issue(),
            Kind::PullRequest => {
                life.pull();
                None
            }
        };
        let steps = life.dated(created);
        Script { number, kind, created, author, duplicate_of, steps }
    }
}

const EVERYWHERE: &[What] = &[
    What::Plain("pinned"),
    What::Plain("unpinned"),
    What::Plain("user_blocked"),
    What::Plain("transferred"),
    What::Plain("marked_as_duplicate"),
    What::Plain("unmarked_as_duplicate"),
    What::Plain("connected"),
    What::Plain("disconnected"),
    What::Plain("comment_deleted"),
    What::Plain("unlocked"),
    What::Related("sub_issue_added", 3),
    What::Related("sub_issue_removed", 3),
    What::Related("parent_issue_added", 1),
    What::Related("parent_issue_removed", 1),
    What::Related("blocked_by_added", 4),
    What::Related("blocked_by_removed", 4),
    What::Related("blocking_added", 6),
    What::Related("blocking_removed", 6),
    What::IssueType("issue_type_added"),
    What::IssueType("issue_type_changed"),
    What::IssueType("issue_type_removed"),
    What::Project("added_to_project"),
    What::Project("moved_columns_in_project"),
    What::Project("removed_from_project"),
    What::Project("converted_note_to_issue"),
    What::Plain("converted_to_discussion"),
    What::Plain("unsubscribed"),
    What::Plain("issue_comment_pinned"),
    What::Plain("added_to_project_v2"),
    What::Plain("project_v2_item_status_changed"),
    What::Plain("copilot_work_started"),
    What::Plain("copilot_work_finished"),
    What::Plain("issue_field_added"),
    What::Plain("teleported"),
    What::Plain("summarised_by_oracle"),
    What::Locked(Some("too heated")),
    What::Locked(Some("spam")),
];
const PULLS_ONLY: &[What] = &[
    What::Plain("deployed"),
    What::Plain("base_ref_changed"),
    What::Plain("auto_merge_enabled"),
    What::Plain("auto_merge_disabled"),
    What::Plain("added_to_merge_queue"),
    What::Plain("removed_from_merge_queue"),
    What::Plain("head_ref_restored"),
    What::ReviewDismissed,
    What::LineCommented,
    What::CommitCommented,
    What::Plain("automatic_base_change_succeeded"),
    What::Plain("automatic_base_change_failed"),
    What::Plain("base_ref_force_pushed"),
    What::Plain("base_ref_deleted"),
    What::Plain("convert_to_draft"),
    What::Plain("ready_for_review"),
    What::Plain("deployment_environment_changed"),
];

/// A script being written.
struct Life<'a> {
    plot: &'a Plot,
    people: &'a People,
    number: u64,
    author: Option<u64>,
    random: Rng,
    steps: Vec<(Option<u64>, What)>,
    /// How many steps come with the opening: the commits of a pull request.
    pushed: usize,
}

impl Life<'_> {
    fn member(&mut self) -> Option<u64> {
        Some(self.people.member(&mut self.random))
    }

    /// Who speaks next: the author, the team, others, now and then a bot or someone whose account is gone.
    fn speaker(&mut self) -> Option<u64> {
        match self.random.u8(..20) {
            0..6 => self.author,
            6..13 => self.member(),
            13 => Some(ACTIONS),
            14 if self.random.u8(..4) == 0 => None,
            _ => Some(self.people.anybody(&mut self.random)),
        }
    }

    fn add(&mut self, actor: Option<u64>, what: What) {
        self.steps.push((actor, what));
    }

    fn triage(&mut self) {
        let member = if self.random.u8(..6) == 0 { Some(ACTIONS) } else { self.member() };
        for _ in 0..self.random.u8(..3) {
            let label = self.random.u16(..LABELS.len() as u16);
            self.add(member, What::Labeled(label));
            if self.random.u8(..8) == 0 {
                self.add(member, What::Unlabeled(label));
            }
        }
        if self.random.u8(..4) == 0 {
            let person = self.people.member(&mut self.random);
            self.add(member, What::Assigned(person));
            if self.random.u8(..5) == 0 {
                self.add(member, What::Unassigned(person));
            }
        }
        if self.random.u8(..5) == 0 {
            let milestone = self.random.u16(..MILESTONES.len() as u16);
            self.add(member, What::Milestoned(milestone));
            if self.random.u8(..6) == 0 {
                self.add(member, What::Demilestoned(milestone));
            }
        }
        if self.random.u8(..9) == 0 {
            let actor = self.speaker();
            self.add(actor, What::Renamed);
        }
    }

    fn talk(&mut self) {
        let count = match self.random.u16(..1000) {
            _ if self.number == 5 => 130,
            _ if self.number == self.plot.longest => 1_150,
            0..250 => 0,
            250..850 => self.random.u16(1..6),
            850..990 => self.random.u16(6..20),
            _ => self.random.u16(20..70),
        };
        for _ in 0..count {
            let speaker = self.speaker();
            self.add(speaker, What::Comment);
            match self.random.u8(..16) {
                0 | 1 => {
                    let person = if self.random.u8(..30) == 0 { None } else { self.member() };
                    self.add(person, What::Plain("mentioned"));
                    self.add(person, What::Plain("subscribed"));
                }
                2 => {
                    let actor = self.member();
                    self.add(actor, What::Referenced);
                }
                3 if self.number > 20 => self.cross_reference(),
                _ => {}
            }
        }
    }

    fn cross_reference(&mut self) {
        let actor = self.member();
        let elsewhere = self.random.u8(..6) == 0;
        let repository = if elsewhere { self.plot.neighbour } else { self.plot.repository };
        let mut number = self.random.u64(1..self.number);
        if elsewhere {
            number = 1 + number % 10;
        } else if self.plot.gap(number).is_some() {
            number = 1;
        }
        self.add(actor, What::CrossReference { repository, number });
    }

    fn rare(&mut self, pull: bool) {
        if self.number % 5 != 3 {
            return;
        }
        let turn = (self.number / 5) as usize;
        let what = if pull && turn.is_multiple_of(2) {
            PULLS_ONLY[turn / 2 % PULLS_ONLY.len()]
        } else {
            EVERYWHERE[turn % EVERYWHERE.len()]
        };
        if pull && matches!(what, What::Related(..) | What::IssueType(_)) {
            return;
        }
        let actor = if self.random.u8(..6) == 0 { None } else { self.member() };
        self.add(actor, what);
    }

    /// Whether enough time has gone by for the item to be settled by now.
    fn settled(&mut self) -> bool {
        let age = (WORLD_END - self.plot.created(self.number)) / DAY;
        self.random.f64() < 0.9 * (1.0 - (-(age as f64) / 240.0).exp())
    }

    fn issue(&mut self) -> Option<u64> {
        self.triage();
        self.talk();
        self.rare(false);
        let duplicate = (self.number > 30 && self.number % 23 == 7)
            .then(|| self.random.u64(1..self.number))
            .filter(|number| self.plot.gap(*number).is_none() && self.plot.kind(*number) == Kind::Issue);
        if duplicate.is_some() {
            let member = self.member();
            self.add(member, What::Labeled(3));
            self.add(member, What::Plain("marked_as_duplicate"));
            self.add(member, What::Closed { reason: Some("duplicate"), by_commit: false });
        } else if self.settled() {
            let actor = if self.random.u8(..3) == 0 { self.author } else { self.member() };
            let reason = pick(&mut self.random, &["completed", "completed", "completed", "not_planned"]);
            let by_commit = self.random.u8(..30) == 0;
            self.add(actor, What::Closed { reason: Some(reason), by_commit });
            match self.random.u8(..30) {
                0 | 1 => self.reopen(),
                2 => self.add(None, What::Locked(Some("resolved"))),
                3 => self.add(actor, What::Locked(None)),
                _ => {}
            }
        }
        duplicate
    }

    fn reopen(&mut self) {
        let actor = self.speaker();
        self.add(actor, What::Reopened);
        self.talk();
        if self.random.bool() {
            self.add(actor, What::Closed { reason: Some("completed"), by_commit: false });
        }
    }

    fn pull(&mut self) {
        let author = self.author;
        self.pushed = self.random.usize(1..5);
        for _ in 0..self.pushed {
            self.add(None, What::Committed);
        }
        let person = if self.random.u8(..4) == 0 { None } else { self.member() };
        if self.random.bool() {
            self.add(author, What::ReviewRequested { person, removed: false });
            if self.random.u8(..9) == 0 {
                self.add(author, What::ReviewRequested { person, removed: true });
            }
        }
        self.triage();
        self.talk();
        let comments = self.random.u16(..6) + if self.number % 97 == 2 { 120 } else { 0 };
        if self.random.u8(..3) > 0 || comments > 100 {
            let reviewer = if self.random.u8(..40) == 0 { None } else { self.member() };
            let state = pick(&mut self.random, &["commented", "changes_requested", "commented"]);
            self.add(reviewer, What::Reviewed { state, comments });
            self.add(None, What::Committed);
        }
        if self.random.u8(..4) == 0 {
            self.add(author, What::ForcePushed);
        }
        self.rare(true);
        if self.settled() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let member = self.member();
        if self.random.u8(..10) < 8 {
            self.add(member, What::Reviewed { state: "approved", comments: self.number as u16 % 2 });
            self.add(member, What::Merged);
            self.add(member, What::Closed { reason: None, by_commit: false });
            if self.random.bool() {
                self.add(member, What::Plain("head_ref_deleted"));
            }
            if self.random.u8(..4) == 0 {
                self.add(member, What::Referenced);
            }
        } else {
            self.add(member, What::Closed { reason: None, by_commit: false });
            if self.random.u8(..5) == 0 {
                self.add(member, What::Reopened);
            }
        }
    }

    /// Gives the steps their times: some days or months, never after the end of the generated history.
    fn dated(mut self, created: i64) -> Vec<Step> {
        let days = (self.random.f64().powi(4) * 700.0) as i64 + 1;
        let last = (created + days * DAY + self.steps.len() as i64 * 3_600).min(WORLD_END - 1);
        let later = self.steps.len() - self.pushed;
        let mut times: Vec<i64> = (0..later).map(|_| self.random.i64(created.min(last - 1)..last)).collect();
        times.sort_unstable();
        let times = std::iter::repeat_n(created, self.pushed).chain(times);
        self.steps.into_iter().zip(times).map(|((actor, what), at)| Step { at, actor, what }).collect()
    }
}
