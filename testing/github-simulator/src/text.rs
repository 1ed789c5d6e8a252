//! The words of a generated project: an embedded database with bindings, a command line and a long history.
//!
//! Texts are put together from the lists below by a seeded generator, so that a world of any size reads like a living
//! project: identifiers, paths, commits, tables, task lists, several scripts, and things that try to break a reader.

use fastrand::Rng;

use crate::random::{pick, sha};

pub(crate) const COMPONENTS: &[&str] = &[
    "write-ahead log",
    "compactor",
    "page cache",
    "query planner",
    "bloom filter",
    "snapshot reader",
    "cursor",
    "schema migration",
    "command line",
    "Python bindings",
    "C API",
    "backup tool",
    "replication",
    "lock manager",
    "full-text index",
    "time zone table",
    "import",
    "statistics",
    "memory allocator",
    "test harness",
];
const SUBJECTS: &[&str] = &[
    "a transaction",
    "an empty table",
    "the last segment",
    "a nested view",
    "a very wide row",
    "a read-only file",
    "two writers",
    "a renamed column",
    "a cancelled query",
    "the free list",
    "an interrupted backup",
    "a large blob",
    "a covering index",
    "a stale snapshot",
    "an uncommitted page",
];
const TROUBLES: &[&str] = &[
    "panics on",
    "loses the order of",
    "reports the wrong size for",
    "waits forever on",
    "leaks memory with",
    "returns stale rows for",
    "is ten times slower with",
    "refuses",
    "silently truncates",
    "deadlocks on",
    "prints a misleading error for",
    "double-frees",
    "ignores the timeout of",
    "overflows on",
];
const PLACES: &[&str] = &[
    "on Windows",
    "after an upgrade",
    "with 32-bit builds",
    "under heavy load",
    "when the disk is full",
    "in release builds",
    "on network file systems",
    "after a crash",
    "with collation enabled",
    "on big-endian machines",
    "",
    "",
    "",
    "",
];
const WISHES: &[&str] = &[
    "Add progress output to",
    "Make it possible to cancel",
    "Document the limits of",
    "Support zstd in",
    "Show memory use of",
    "Let users configure",
    "Expose an iterator over",
    "Add a dry run to",
    "Remove the global in",
    "Speed up",
    "Make errors of",
    "Cache the results of",
    "Add metrics to",
    "Allow custom allocators in",
];
const DEEDS: &[&str] =
    &["Fix", "Rewrite", "Simplify", "Speed up", "Test", "Document", "Split", "Deprecate", "Harden", "Vectorise"];
pub(crate) const IDENTIFIERS: &[&str] = &[
    "lumen_txn_commit",
    "lumen_cursor_seek",
    "PageCache::evict",
    "readAheadWindow",
    "WalSegment",
    "LUMEN_MAX_KEY",
    "Planner::estimate_rows",
    "checkpointInterval",
    "open_read_only",
    "BloomFilter::insert",
    "lumen_blob_read_v2",
    "IndexStatistics",
    "fsyncParent",
    "row_group_offset",
    "kDefaultPageSize",
];
const PATHS: &[&str] = &[
    "src/wal/segment.rs",
    "src/cache/page.rs",
    "bindings/python/lumen/__init__.py",
    "include/lumen.h",
    "src/planner/join_order.rs",
    "tests/crash/recovery.rs",
    "docs/limits.md",
    "src/cli/import.rs",
    "build.rs",
    ".github/workflows/ci.yml",
    "src/index/fulltext/tokenizer.rs",
];
const REMARKS: &[&str] = &[
    "I can reproduce this with the latest release.",
    "Thanks for the report!",
    "This bisects to a change of last week.",
    "The cause is an off-by-one in how the tail page is found.",
    "Could you attach the output of `lumen doctor`?",
    "Works for me on Linux, fails on the build machine.",
    "I would rather keep the default as it is.",
    "There is a workaround: set the option before opening the file.",
    "Let us discuss this in the next meeting.",
    "We hit the same problem in production, twice.",
    "The test is flaky because it depends on the clock.",
    "Rebased, and the review comments are addressed.",
    "Looks good, one small question below.",
    "I think that the lock is taken in the wrong order here.",
    "Any news on this?",
    "Same here.",
    "+1",
    "Closing as there was no answer; please reopen with more details.",
    "Nice find 🎉",
    "This needs a changelog entry.",
    "The numbers are better, but the variance is not.",
    "I'd split this into two changes.",
    "Do we promise this order anywhere?",
    "Let me check with the people who wrote it.",
];
const FOREIGN: &[&str] = &[
    "قاعدة البيانات لا تفتح بعد الترقية، والرسالة غير واضحة.",
    "בסיס הנתונים נתקע אחרי עדכון הגרסה.",
    "升级之后数据库打不开，日志里只有一行错误。",
    "アップグレード後にデータベースを開けません。再現手順は下にあります。",
    "업그레이드 후에 데이터베이스가 열리지 않습니다.",
    "После обновления база не открывается.",
    "Nach dem Update öffnet sich die Datenbank nicht mehr – größere Dateien sind betroffen.",
    "डेटाबेस अद्यतन के बाद नहीं खुलता।",
    "👩‍👩‍👧‍👦 family emoji in a key breaks the sort order 🏳️‍🌈 e\u{301} vs é",
];
/// Texts that must stay inert in every page and never break a parser.
pub(crate) const HOSTILE: &[&str] = &[
    "<script>alert(document.domain)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "<svg/onload=alert(1)>",
    "\"><iframe src=//evil.example></iframe>",
    "`</script><script>alert(1)</script>`",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "'; DROP TABLE items; --",
    "../../../../etc/passwd%00",
    "<style>*{display:none}</style><base href=//evil.example>",
    "\u{202e}txt.exe evil\u{202c}",
    "<a href=\"data:text/html;base64,PHNjcmlwdD4=\">x</a>",
    "<details open ontoggle=alert(1)>",
    "![x](http://127.0.0.1:1/track.png)",
    "<!-- --><math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)>",
];
pub(crate) const LABELS: &[(&str, &str, &str)] = &[
    ("bug", "d73a4a", "Something isn't working"),
    ("enhancement", "a2eeef", "New feature or request"),
    ("documentation", "0075ca", "Improvements or additions to documentation"),
    ("duplicate", "cfd3d7", "Already known"),
    ("good first issue", "7057ff", "Good for newcomers"),
    ("help wanted", "008672", "Extra attention is needed"),
    ("question", "d876e3", "Further information is requested"),
    ("wontfix", "ffffff", "This will not be worked on"),
    ("area: storage", "1d76db", "Pages, log, files"),
    ("area: planner", "1d76db", "Queries and plans"),
    ("area: bindings", "1d76db", "Other languages"),
    ("area: cli", "1d76db", ""),
    ("P1 💥", "b60205", "Drop everything"),
    ("P2", "fbca04", "Next release"),
    ("P3", "0e8a16", ""),
    ("needs reproduction", "e99695", ""),
    ("regression", "b60205", "Worked in an earlier release"),
    ("backport/2.x", "c5def5", ""),
    ("مهم", "5319e7", ""),
    ("パフォーマンス", "f9d0c4", "Speed and memory"),
];
pub(crate) const MILESTONES: &[&str] = &["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "3.0", "Backlog"];
const GIVEN: &[&str] = &[
    "amara", "bilal", "chiyo", "dana", "emre", "fatou", "goran", "hana", "ines", "jonas", "kofi", "lucia", "mei",
    "nadia", "oskar", "priya", "quinn", "rosa", "sven", "tariq", "uma", "viktor", "wanda", "ximena", "yusuf", "zoe",
];
const FAMILY: &[&str] = &[
    "okafor",
    "lindqvist",
    "tanaka",
    "moreau",
    "silva",
    "novak",
    "haddad",
    "kim",
    "rossi",
    "weber",
    "dube",
    "ivanova",
    "costa",
    "larsen",
    "patel",
    "nguyen",
    "byrne",
    "aydin",
    "mensah",
    "popescu",
];

/// The login of the n-th person: unique by construction.
pub(crate) fn login(index: u64) -> String {
    let given = GIVEN[(index % GIVEN.len() as u64) as usize];
    let family = FAMILY[((index / 3 + index * 7) % FAMILY.len() as u64) as usize];
    match index {
        0..=25 => format!("{given}-{family}"),
        _ if index.is_multiple_of(3) => format!("{given}{}", index + 70),
        _ => format!("{given}-{family}-{index}"),
    }
}

/// A title for an issue or, with `deed`, for a pull request.
pub(crate) fn title(random: &mut Rng, deed: bool) -> String {
    let component = pick(random, COMPONENTS);
    let text = if deed {
        match random.u8(..3) {
            0 => format!("{} {component} for {}", pick(random, DEEDS), pick(random, SUBJECTS)),
            1 => format!("{component}: {} `{}`", pick(random, DEEDS).to_lowercase(), pick(random, IDENTIFIERS)),
            _ => format!("{} `{}` in the {component}", pick(random, DEEDS), pick(random, IDENTIFIERS)),
        }
    } else {
        match random.u8(..4) {
            0 => format!("{} the {component}", pick(random, WISHES)),
            1 => format!("`{}` {} {}", pick(random, IDENTIFIERS), pick(random, TROUBLES), pick(random, SUBJECTS)),
            _ => format!(
                "The {component} {} {} {}",
                pick(random, TROUBLES),
                pick(random, SUBJECTS),
                pick(random, PLACES)
            ),
        }
    };
    text.trim_end().to_owned()
}

/// The body of an issue's first post.
pub(crate) fn issue_body(random: &mut Rng, number: u64) -> String {
    let mut body = String::from("<!-- Thank you for the report! Please fill in the sections below. -->\n");
    body += "### What happened\n\n";
    body += &sentences(random, 2);
    if random.u8(..9) == 0 {
        body += "\n\n";
        body += pick(random, FOREIGN);
    }
    body += "\n\n### How to reproduce\n\n";
    body += &code(random);
    match random.u8(..5) {
        0 => body += &table(random),
        1 => body += &tasks(random),
        2 if number > 3 => body += &format!("\nPerhaps related to #{}.", random.u64(1..number)),
        3 => body += &format!("\nFirst seen in {}.", &sha(random.u64(..), &[])[..10]),
        _ => {}
    }
    body
}

/// The body of a pull request's first post.
pub(crate) fn pull_body(random: &mut Rng, closes: Option<u64>) -> String {
    let mut body = sentences(random, 2);
    body += &format!("\n\nMoves `{}` into `{}`.\n", pick(random, IDENTIFIERS), pick(random, PATHS));
    if let Some(number) = closes {
        body += &format!("\nCloses #{number}\n");
    }
    if random.bool() {
        body += &tasks(random);
    }
    body
}

/// A comment or a review's words.
pub(crate) fn comment(random: &mut Rng, mention: &str) -> String {
    let mut body = sentences(random, 1);
    match random.u8(..12) {
        0 => body += &format!("\n\n{}", code(random)),
        1 => body = format!("@{mention} {body}"),
        2 => body = format!("> {}\n\n{body}", pick(random, REMARKS)),
        3 => body += &format!(" See `{}` in `{}`.", pick(random, IDENTIFIERS), pick(random, PATHS)),
        4 => body += &format!(" Fixed by {}.", sha(random.u64(..), &[])),
        5 => body = format!("{body}\n\n{}", pick(random, FOREIGN)),
        6 => body += &table(random),
        7 if random.bool() => body = pick(random, HOSTILE).to_owned(),
        _ => {}
    }
    body
}

/// A file, its diff hunk and the line commented on.
pub(crate) fn hunk(random: &mut Rng) -> (&'static str, String, u64) {
    let line = random.u64(4..400);
    let name = pick(random, IDENTIFIERS);
    let text = format!(
        "@@ -{line},4 +{line},5 @@ impl Store {{\n     let page = self.{name}(key)?;\n-    page.lock();\n+    let guard = page.lock();\n+    guard.check({});",
        random.u16(..)
    );
    (pick(random, PATHS), text, line + 2)
}

/// The first line and more of a commit's message.
pub(crate) fn commit_message(random: &mut Rng) -> String {
    let title = title(random, true);
    if random.bool() { format!("{title}\n\n{}", sentences(random, 2)) } else { title }
}

/// A body of exactly 65,536 characters, the longest that GitHub takes.
pub(crate) fn longest_body(random: &mut Rng) -> String {
    let mut body = String::with_capacity(80_000);
    let mut characters = 0;
    while characters < 65_536 {
        let part = format!("{}\n\n{}\n", sentences(random, 6), code(random));
        for character in part.chars().take(65_536 - characters) {
            body.push(character);
            characters += 1;
        }
    }
    body
}

fn sentences(random: &mut Rng, least: usize) -> String {
    let count = least + random.usize(..3);
    let parts: Vec<&str> = (0..count).map(|_| pick(random, REMARKS)).collect();
    parts.join(" ")
}

fn code(random: &mut Rng) -> String {
    let (a, b) = (pick(random, IDENTIFIERS), pick(random, IDENTIFIERS));
    match random.u8(..3) {
        0 => format!("```rust\nlet store = lumen::open(\"{}\")?;\nstore.{a}()?; // fails\n```\n", pick(random, PATHS)),
        1 => format!(
            "```\nthread 'main' panicked at {}:{}:9:\n{a}: index out of bounds\n   0: {b}\n```\n",
            pick(random, PATHS),
            random.u16(1..900)
        ),
        _ => {
            format!("```console\n$ lumen import --check data.csv\nerror: {a} failed: {}\n```\n", pick(random, SUBJECTS))
        }
    }
}

fn table(random: &mut Rng) -> String {
    let rows: String = (0..3)
        .map(|_| format!("| `{}` | {} | {} ms |\n", pick(random, IDENTIFIERS), random.u16(1..999), random.u16(..)))
        .collect();
    format!("\n\n| what | before | after |\n| --- | ---: | ---: |\n{rows}")
}

fn tasks(random: &mut Rng) -> String {
    let lines: String = (0..3)
        .map(|_| {
            let mark = if random.bool() { "x" } else { " " };
            format!("- [{mark}] {} the {}\n", pick(random, WISHES), pick(random, COMPONENTS))
        })
        .collect();
    format!("\n\n{lines}")
}
