//! What the dashboards show, free of either product's format.

/// The alias that a panel reads, with its default time field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// `gharvest-items`
    Items,
    /// `gharvest-comments`
    Comments,
    /// `gharvest-daily`
    Daily,
    /// `gharvest-intervals`
    Intervals,
    /// `gharvest-operations`
    Operations,
}

impl Index {
    /// Every alias that dashboards read.
    pub const ALL: [Self; 5] = [Self::Items, Self::Comments, Self::Daily, Self::Intervals, Self::Operations];

    /// The alias.
    pub fn alias(self) -> &'static str {
        match self {
            Self::Items => "gharvest-items",
            Self::Comments => "gharvest-comments",
            Self::Daily => "gharvest-daily",
            Self::Intervals => "gharvest-intervals",
            Self::Operations => "gharvest-operations",
        }
    }

    /// Its default time field.
    pub fn time_field(self) -> &'static str {
        match self {
            Self::Items | Self::Comments => "created_at",
            Self::Daily => "day",
            Self::Intervals => "from",
            Self::Operations => "at",
        }
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Items => "gharvest: issues and pull requests",
            Self::Comments => "gharvest: comments and reviews",
            Self::Daily => "gharvest: daily counts",
            Self::Intervals => "gharvest: what was true when",
            Self::Operations => "gharvest: how the system is doing",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// Documents.
    Count,
    /// The sum of a field.
    Sum(&'static str),
    /// The median of a field.
    Median(&'static str),
    /// A percentile of a field.
    Percentile(&'static str, u8),
    /// How many different values a field has.
    Distinct(&'static str),
    /// The largest value of a field.
    Most(&'static str),
    /// The smallest value of a field.
    Least(&'static str),
}

/// By what figures are split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// A keyword field.
    pub field: &'static str,
    /// The most values shown.
    pub size: u32,
}

/// Two parts: documents that have a field, and those that lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The field.
    pub field: &'static str,
    /// What those that have it are called.
    pub having: &'static str,
    /// What the others are called.
    pub lacking: &'static str,
}

impl Parts {
    /// What each part is called, and the query that both products ask for it.
    pub fn queries(&self) -> [(&'static str, String); 2] {
        [(self.having, format!("{}: *", self.field)), (self.lacking, format!("not {}: *", self.field))]
    }
}

/// A list of documents that people begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Stable.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The question that it answers.
    pub description: &'static str,
    /// Which documents.
    pub index: Index,
    /// The query, in KQL.
    pub query: &'static str,
    /// What is shown of each.
    pub columns: &'static [&'static str],
    /// By which date, latest first.
    pub sort: &'static str,
}

/// All saved searches.
pub fn searches() -> Vec<Search> {
    const ITEM: &[&str] = &["repository", "number", "title", "labels", "author"];
    vec![
        Search {
            id: "gharvest-open-items",
            title: "gharvest: Open items",
            description: "What is open, what moved last first.",
            index: Index::Items,
            query: "state: \"open\"",
            columns: ITEM,
            sort: "updated_at",
        },
        Search {
            id: "gharvest-unanswered",
            title: "gharvest: Nobody has answered",
            description: "Open, and nobody but its author has said anything.",
            index: Index::Items,
            query: "state: \"open\" and not h_first_response: *",
            columns: ITEM,
            sort: "created_at",
        },
        Search {
            id: "gharvest-labels-then",
            title: "gharvest: Labels, from when to when",
            description: "Which items carried a label on a day: add value: \"LABEL\" and from <= \"DAY\" and (not to: * or to > \"DAY\").",
            index: Index::Intervals,
            query: "dimension: \"label\"",
            columns: &["repository", "number", "value", "from", "to", "hours", "by"],
            sort: "from",
        },
        Search {
            id: "gharvest-latest-comments",
            title: "gharvest: What was said last",
            description: "Comments and reviews by people, the latest first.",
            index: Index::Comments,
            query: "author_is_bot: false",
            columns: &["repository", "number", "title", "author", "body"],
            sort: "created_at",
        },
        Search {
            id: "gharvest-in-trouble",
            title: "gharvest: In trouble",
            description: "Repositories that cannot be fetched and tokens that are set aside, the latest first.",
            index: Index::Operations,
            query: "trouble: *",
            columns: &["about", "repository", "token", "trouble"],
            sort: "at",
        },
    ]
}

/// How figures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One large number.
    Number,
    /// Lines or bars over time.
    Over {
        /// A date field.
        field: &'static str,
        /// `hour`, `day`, `week` or `month`.
        interval: &'static str,
    },
    /// Rows, one a value of the split.
    Table,
    /// A ring, one piece a value of the split.
    Donut,
}

/// One panel: a question and its answer's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Stable and unique in its dashboard.
    pub id: &'static str,
    /// What people read above it.
    pub title: &'static str,
    /// Which documents.
    pub index: Index,
    /// Only documents with these values.
    pub filter: Vec<(&'static str, &'static str)>,
    /// How it looks.
    pub shape: Shape,
    /// What is counted.
    pub figures: Vec<Figure>,
    /// By what it is split.
    pub split: Option<Split>,
    /// Or into which two parts.
    pub parts: Option<Parts>,
    /// x, y, width, height on a grid of 48 columns.
    pub place: [u32; 4],
}

/// One dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Stable.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The questions it answers.
    pub description: &'static str,
    /// How far back it looks until somebody says otherwise: `now-2y`.
    pub since: &'static str,
    /// Its panels.
    pub panels: Vec<Panel>,
}

const MONTHLY_DAY: Shape = Shape::Over { field: "day", interval: "month" };
const DAILY: Shape = Shape::Over { field: "day", interval: "day" };
const HOURLY: Shape = Shape::Over { field: "at", interval: "hour" };
const YEARS: &str = "now-2y";
const CREATED_MONTHLY: Shape = Shape::Over { field: "created_at", interval: "month" };

/// All dashboards.
pub fn dashboards() -> Vec<Dashboard> {
    vec![overview(), responsiveness(), labels(), people(), operations()]
}

fn panel(id: &'static str, title: &'static str, index: Index, shape: Shape, place: [u32; 4]) -> Panel {
    Panel { id, title, index, filter: Vec::new(), shape, figures: vec![Figure::Count], split: None, parts: None, place }
}

impl Panel {
    fn only(mut self, field: &'static str, value: &'static str) -> Self {
        self.filter.push((field, value));
        self
    }

    fn showing(mut self, figures: &[Figure]) -> Self {
        self.figures = figures.to_vec();
        self
    }

    fn in_parts(mut self, field: &'static str, having: &'static str, lacking: &'static str) -> Self {
        self.parts = Some(Parts { field, having, lacking });
        self
    }

    fn by(mut self, field: &'static str, size: u32) -> Self {
        self.split = Some(Split { field, size });
        self
    }
}

fn overview() -> Dashboard {
    Dashboard {
        id: "gharvest-overview",
        title: "gharvest: Overview",
        description: "What is open, how much comes in and goes out, and how the backlog grows.",
        since: YEARS,
        panels: vec![
            panel("open", "Open now", Index::Items, Shape::Number, [0, 0, 12, 8]).only("state", "open"),
            panel("all", "Mirrored", Index::Items, Shape::Number, [12, 0, 12, 8]),
            panel("kinds", "Issues and pull requests", Index::Items, Shape::Donut, [24, 0, 12, 8]).by("kind", 2),
            panel("states", "States", Index::Items, Shape::Donut, [36, 0, 12, 8]).by("state", 3),
            panel("backlog", "Open at the end of each day", Index::Daily, DAILY, [0, 8, 48, 12])
                .only("dimension", "all")
                .showing(&[Figure::Sum("open")])
                .by("kind", 2),
            panel("flow", "Opened and closed a month", Index::Daily, MONTHLY_DAY, [0, 20, 24, 12])
                .only("dimension", "all")
                .showing(&[Figure::Sum("opened"), Figure::Sum("closed")]),
            panel("age", "Open now, by month opened", Index::Items, CREATED_MONTHLY, [24, 20, 24, 12])
                .only("state", "open")
                .by("kind", 2),
            panel("repositories", "By repository", Index::Items, Shape::Table, [0, 32, 48, 10]).by("repository", 20),
        ],
    }
}

fn responsiveness() -> Dashboard {
    Dashboard {
        id: "gharvest-responsiveness",
        title: "gharvest: Responsiveness",
        description: "How long people wait for a first answer, a close, a merge; and what still waits.",
        since: YEARS,
        panels: vec![
            panel(
                "first-response",
                "Hours to the first response (p50, p90), by month opened",
                Index::Items,
                CREATED_MONTHLY,
                [0, 0, 24, 12],
            )
            .showing(&[Figure::Median("h_first_response"), Figure::Percentile("h_first_response", 90)]),
            panel(
                "close",
                "Hours to close (p50, p90), by month opened",
                Index::Items,
                CREATED_MONTHLY,
                [24, 0, 24, 12],
            )
            .showing(&[Figure::Median("h_to_close"), Figure::Percentile("h_to_close", 90)]),
            panel(
                "merge",
                "Hours to merge (p50, p90), by month opened",
                Index::Items,
                CREATED_MONTHLY,
                [0, 12, 24, 12],
            )
            .only("kind", "pull_request")
            .showing(&[Figure::Median("h_to_merge"), Figure::Percentile("h_to_merge", 90)]),
            panel("waiting", "Open, by who has to act", Index::Items, Shape::Donut, [24, 12, 24, 12])
                .only("state", "open")
                .by("waiting_on", 2),
            panel("unanswered", "Open: answered, or still waiting", Index::Items, Shape::Donut, [0, 24, 24, 12])
                .only("state", "open")
                .in_parts("h_first_response", "answered", "still waiting"),
            panel(
                "still-waiting",
                "Answered or still waiting, by month opened",
                Index::Items,
                CREATED_MONTHLY,
                [24, 24, 24, 12],
            )
            .in_parts("h_first_response", "answered", "still waiting"),
            panel(
                "still-open",
                "Closed or still open, by month opened",
                Index::Items,
                CREATED_MONTHLY,
                [0, 36, 48, 12],
            )
            .in_parts("h_to_close", "closed once", "still open"),
        ],
    }
}

fn labels() -> Dashboard {
    Dashboard {
        id: "gharvest-labels",
        title: "gharvest: Labels over time",
        description: "Which labels were on open items at the end of each day, and how long labels stay.",
        since: YEARS,
        panels: vec![
            panel("open-by-label", "Open with a label, at the end of each day", Index::Daily, DAILY, [0, 0, 48, 14])
                .only("dimension", "label")
                .showing(&[Figure::Sum("open")])
                .by("value", 10),
            panel(
                "given",
                "Labels given a month",
                Index::Intervals,
                Shape::Over { field: "from", interval: "month" },
                [0, 14, 24, 12],
            )
            .only("dimension", "label")
            .by("value", 10),
            panel("now", "Labels now", Index::Items, Shape::Table, [24, 14, 24, 12]).by("labels", 30),
            panel(
                "dwell",
                "Hours that labels stay (p50, p90), of those taken off",
                Index::Intervals,
                Shape::Table,
                [0, 26, 24, 14],
            )
            .only("dimension", "label")
            .showing(&[Figure::Count, Figure::Median("hours"), Figure::Percentile("hours", 90)])
            .by("value", 30),
            panel("carried", "Items with a label, summed over days", Index::Daily, Shape::Table, [24, 26, 24, 14])
                .only("dimension", "label")
                .showing(&[Figure::Sum("open")])
                .by("value", 30),
        ],
    }
}

fn people() -> Dashboard {
    Dashboard {
        id: "gharvest-people",
        title: "gharvest: People",
        description: "Who reports, answers and reviews; bots apart.",
        since: YEARS,
        panels: vec![
            panel("reporters", "Reporters", Index::Items, Shape::Table, [0, 0, 16, 14])
                .only("author_is_bot", "false")
                .by("author", 25),
            panel("responders", "Commenters", Index::Comments, Shape::Table, [16, 0, 16, 14])
                .only("author_is_bot", "false")
                .only("part", "comment")
                .by("author", 25),
            panel("reviewers", "Reviewers", Index::Comments, Shape::Table, [32, 0, 16, 14])
                .only("author_is_bot", "false")
                .only("part", "review")
                .by("author", 25),
            panel("active", "People who commented, by month", Index::Comments, CREATED_MONTHLY, [0, 14, 32, 12])
                .only("author_is_bot", "false")
                .showing(&[Figure::Distinct("author")]),
            panel("bots", "Bots", Index::Comments, Shape::Table, [32, 14, 16, 12])
                .only("author_is_bot", "true")
                .by("author", 10),
        ],
    }
}

fn operations() -> Dashboard {
    let mut panels = queue_panels();
    panels.extend(budget_and_repository_panels());
    Dashboard {
        id: "gharvest-operations",
        title: "gharvest: Operations",
        description: "How long jobs wait, what fails, what is left of the budgets, and how fresh and whole the mirror is.",
        // By the hour: more would be more lines than charts can show.
        since: "now-7d",
        panels,
    }
}

fn queue_panels() -> Vec<Panel> {
    vec![
        panel(
            "lag",
            "Seconds that the oldest job waited, at most in an hour",
            Index::Operations,
            HOURLY,
            [0, 0, 24, 12],
        )
        .only("about", "queue")
        .showing(&[Figure::Most("lag_seconds")])
        .by("queue", 2),
        panel(
            "ready",
            "Jobs ready to download, by lane, at most in an hour",
            Index::Operations,
            HOURLY,
            [24, 0, 24, 12],
        )
        .only("about", "lane")
        .only("queue", "download")
        .showing(&[Figure::Most("ready")])
        .by("lane", 5),
        panel("done", "Jobs finished an hour", Index::Operations, HOURLY, [0, 12, 16, 12])
            .only("about", "queue")
            .showing(&[Figure::Sum("finished")])
            .by("queue", 2),
        panel("retried", "Attempts that failed an hour", Index::Operations, HOURLY, [16, 12, 16, 12])
            .only("about", "queue")
            .showing(&[Figure::Sum("retried")])
            .by("queue", 2),
        panel("buried", "Jobs that failed for good, at most in an hour", Index::Operations, HOURLY, [32, 12, 16, 12])
            .only("about", "queue")
            .showing(&[Figure::Most("buried")])
            .by("queue", 2),
    ]
}

fn budget_and_repository_panels() -> Vec<Panel> {
    vec![
        panel("budget", "Calls left of each token, at least in an hour", Index::Operations, HOURLY, [0, 24, 24, 12])
            .only("about", "budget")
            .only("resource", "core")
            .showing(&[Figure::Least("remaining")])
            .by("token", 20),
        panel(
            "points",
            "Points of GraphQL used by each token, at most in an hour",
            Index::Operations,
            HOURLY,
            [24, 24, 24, 12],
        )
        .only("about", "budget")
        .only("resource", "graphql")
        .showing(&[Figure::Most("used")])
        .by("token", 20),
        panel(
            "repositories",
            "Repositories at their worst: numbers open, failed, deliveries missed, share accounted for",
            Index::Operations,
            Shape::Table,
            [0, 36, 32, 14],
        )
        .only("about", "repository")
        .showing(&[
            Figure::Most("unaccounted"),
            Figure::Most("failed"),
            Figure::Most("missed_deliveries"),
            Figure::Least("completeness"),
        ])
        .by("repository", 50),
        panel(
            "fetched",
            "Records by the day they last changed",
            Index::Items,
            Shape::Over { field: "fetched_at", interval: "day" },
            [32, 36, 16, 14],
        ),
    ]
}
