//! Pages in a real browser: with keys, without scripts, live, hostile, and for everybody (axe).
//!
//! `GHARVEST_TEST_PICTURES=FOLDER` keeps a picture of each page, light and dark, narrow and wide.

use gharvest_model::{Kind, Record, record::Visibility};
use gharvest_testkit::browser::{Browser, Key, Locator, Look, Setup};
use serde_json::json;
use tokio::net::TcpListener;

use crate::mirror::{Mirror, comment, now, record, user};

const WIDE: Look = Look { width: 1280, height: 900, dark: false };
const NARROW: Look = Look { width: 360, height: 740, dark: false };

/// A browser in front of a served mirror.
struct Visit {
    mirror: Mirror,
    browser: Browser,
    base: String,
}

impl Visit {
    async fn begin(test: &str, setup: Setup, records: Vec<Record>) -> Option<Self> {
        let browser = Browser::start(test, setup).await?;
        let mirror = Mirror::new().await;
        for record in records {
            mirror.put(record).await;
        }
        mirror.index.commit().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(gharvest_web::serve_on(listener, mirror.state.clone()));
        browser.look(WIDE).await;
        Some(Self { mirror, browser, base })
    }

    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base)).await;
    }

    async fn path(&self) -> String {
        let url = self.browser.window().current_url().await.unwrap();
        url.as_str().trim_start_matches(&self.base).to_owned()
    }

    /// The text of a place on the page.
    async fn text(&self, selector: &str) -> String {
        self.browser.find(selector).await.text().await.unwrap()
    }

    async fn click(&self, selector: &str) {
        self.browser.find(selector).await.click().await.unwrap();
    }

    /// What makes the page wider than the window.
    async fn too_wide(&self) -> serde_json::Value {
        let beyond = "document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]\
            .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, pre'))\
            .slice(0, 4).map(one => one.outerHTML.slice(0, 120)).concat(document.documentElement.scrollWidth)";
        self.browser.evaluate(beyond).await
    }

    /// The console is empty, and nothing was asked of anybody else.
    async fn ends_clean(&self) {
        assert_eq!(self.browser.complaints().await, [""; 0]);
        let own = |address: &String| address.starts_with(&self.base) || address == "about:blank";
        let foreign: Vec<_> = self.browser.requests().await.into_iter().filter(|address| !own(address)).collect();
        assert_eq!(foreign, [""; 0], "asked of others");
    }
}

/// A thread that shows everything a thread can show.
fn rich() -> Vec<Record> {
    let body = "A paragraph with `code`, **bold** and a [link](https://example.com), see #1, @bob and \
        0123456789abcdef0123456789abcdef01234567.\n\n- [x] done\n- [ ] to do\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n\
        ```rust\nfn main() {\n    println!(\"hello\"); // a comment\n}\n```\n\n> [!WARNING]\n> Mind the gap.\n\n\
        <details><summary>More</summary>\n\nhidden text\n\n</details>\n\nA note[^1] and :tada:.\n\n[^1]: The note.\n\n\
        ![screenshot](https://example.com/a.png)";
    let mut issue =
        record(1, 10, Kind::Issue, "Everything at once in a title that is long enough to need two lines", body);
    let object = issue.issue.as_mut().unwrap();
    object["labels"] = json!([{"name": "bug", "color": "d73a4a"}, {"name": "good first issue", "color": "7057ff"},
        {"name": "docs", "color": "0075ca"}, {"name": "pale", "color": "fef2c0"}]);
    object["assignees"] = json!([user("bob")]);
    object["milestone"] = json!({"title": "1.0"});
    issue.timeline = vec![
        json!({"event": "labeled", "id": 1, "actor": user("bob"), "label": {"name": "bug", "color": "d73a4a"}, "created_at": "2024-01-05T00:00:00Z"}),
        comment(2, "bob", "A comment with *emphasis*.", "2024-01-06T00:00:00Z"),
        json!({"event": "cross-referenced", "id": 3, "actor": user("ann"), "created_at": "2024-01-07T00:00:00Z",
            "source": {"issue": {"number": 2, "title": "Fix the parser", "pull_request": {}, "repository": {"full_name": "octo/box"}}}}),
        json!({"event": "closed", "id": 4, "actor": user("ann"), "state_reason": "completed", "created_at": "2024-02-07T00:00:00Z"}),
        json!({"event": "reopened", "id": 5, "actor": user("ann"), "created_at": "2024-02-08T00:00:00Z"}),
    ];
    let others = (20..50).map(|number| {
        let mut other =
            record(1, number, Kind::Issue, &format!("Everything about part {number} of the parser"), "Words.");
        other.issue.as_mut().unwrap()["created_at"] = json!(format!("20{}-03-01T00:00:00Z", 10 + number % 14));
        other
    });
    std::iter::once(issue).chain(others).collect()
}

const PAGES: [(&str, &str); 9] = [
    ("home", "/"),
    ("search", "/?q=everything"),
    ("nothing", "/?q=nosuchword+lable:bug"),
    ("thread", "/octo/box/issues/10"),
    ("as-of", "/octo/box/issues/1?at=2024-01-20"),
    ("pull", "/octo/box/pull/2"),
    ("repository", "/octo/box"),
    ("status", "/status"),
    ("help", "/-/help/search"),
];

#[tokio::test(flavor = "multi_thread")]
async fn somebody_searches_with_suggestions_facets_and_keys_alone() {
    let test = "somebody_searches_with_suggestions_facets_and_keys_alone";
    let Some(visit) = Visit::begin(test, Setup::default(), rich()).await else { return };
    let browser = &visit.browser;
    visit.open("/").await;
    browser.press("/").await;
    browser.press("label:b").await;
    browser.find("#suggestions li[role=option]").await;
    assert!(visit.text("#suggestions li").await.contains("bug"));
    browser.press(&Key::Down.to_string()).await;
    browser
        .until("document.querySelector('[data-search]').getAttribute('aria-activedescendant') === 'suggestion-0'")
        .await;
    browser.press(&Key::Enter.to_string()).await;
    browser.until("document.querySelector('[data-search]').value.startsWith('label:bug')").await;
    browser.press("crash").await;
    browser.press(&Key::Enter.to_string()).await;
    browser.until("location.search.includes('crash')").await;
    assert_eq!(visit.path().await, "/?q=label%3Abug+crash");
    assert!(visit.text(".total").await.starts_with("2 items"), "{}", visit.text(".total").await);

    // A facet edits the text of the query, and takes its word back.
    visit.click(".facets a[href*='octo%2Fbox']").await;
    browser.until("location.search.includes('repo')").await;
    assert_eq!(visit.path().await, "/?q=label%3Abug+crash+repo%3Aocto%2Fbox");
    assert_eq!(
        browser.evaluate("document.querySelector('[data-search]').value").await,
        "label:bug crash repo:octo/box"
    );
    let active =
        "[...document.querySelectorAll('.facets a[aria-current]')].find(link => link.textContent.includes('octo/box'))";
    browser.evaluate(&format!("{active}.click()")).await;
    browser.until("!location.search.includes('repo%3A')").await;

    visit.open("/?q=parser+sort:created-asc").await;
    browser.press("jj").await;
    browser.until("document.querySelectorAll('.hit')[1].classList.contains('current')").await;
    browser.press("k").await;
    let first = browser.evaluate("document.querySelector('.hit [data-open]').getAttribute('href')").await;
    browser.press(&Key::Enter.to_string()).await;
    browser.until("document.querySelector('.thread-head')").await;
    assert_eq!(visit.path().await, first);

    // From the top: the first stop skips to the content, and every stop is seen.
    visit.open("/octo/box/issues/10").await;
    for stop in 0..25 {
        browser.press(&Key::Tab.to_string()).await;
        let outline = "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(browser.evaluate(outline).await, json!(true), "stop {stop} is not seen");
        if stop == 0 {
            assert_eq!(browser.evaluate("document.activeElement.className").await, "skip");
        }
    }
    visit.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_shown_as_of_a_date() {
    let test = "a_thread_is_shown_as_of_a_date";
    let Some(visit) = Visit::begin(test, Setup::default(), Vec::new()).await else { return };
    visit.open("/octo/box/issues/1").await;
    assert!(visit.text("h1").await.starts_with("Crash in"));
    visit.browser.evaluate("document.querySelector('#at').value = '2024-01-20'").await;
    visit.click("form.as-of button").await;
    visit.browser.find(".banner.as-of").await;
    assert_eq!(visit.path().await, "/octo/box/issues/1?at=2024-01-20");
    assert!(visit.text("h1").await.starts_with("Old name"));
    visit.click(".banner.as-of a").await;
    visit.browser.until("!document.querySelector('.banner.as-of')").await;
    visit.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_what_changes() {
    let test = "pages_follow_what_changes";
    let Some(visit) = Visit::begin(test, Setup::default(), Vec::new()).await else { return };
    let browser = &visit.browser;
    for (path, shows) in [("/octo/box/issues/1", "A new remark"), ("/", "Event of 1"), ("/octo/box", "octo/box")] {
        visit.open(path).await;
        browser.evaluate("window.kept = 1").await;
        browser.until("document.body.dataset.connected").await;
        let mut changed = visit.mirror.archive.record(record(1, 1, Kind::Issue, "", "").id()).await.unwrap().unwrap();
        let id = 900 + changed.revision.0 as u64;
        changed.timeline.push(comment(id, "bob", "A new remark", "2024-03-01T00:00:00Z"));
        visit.mirror.put(changed).await;
        visit.mirror.index.commit().await.unwrap();
        visit.mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
        browser.until(&format!("document.querySelector('main').textContent.includes('{shows}')")).await;
        assert_eq!(browser.evaluate("window.kept").await, 1, "{path}: the page was loaded anew");
    }
    visit.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_without_scripts() {
    let test = "everything_works_without_scripts";
    let Some(visit) = Visit::begin(test, Setup { scripts: false }, rich()).await else { return };
    let window = visit.browser.window();
    visit.open("/").await;
    let form = window.form(Locator::Css("form.search")).await.unwrap();
    form.set_by_name("q", "crash").await.unwrap();
    visit.click("form.search button").await;
    assert!(visit.text(".total").await.starts_with('2'));
    assert!(window.find(Locator::Css("#suggestions")).await.is_err(), "no script ran");
    visit.click(".facets a[href*='octo%2Fbox']").await;
    assert!(visit.text(".total").await.starts_with('1'));
    visit.click(".hit [data-open]").await;
    visit.browser.find(".thread-head").await;
    let at = visit.browser.find("#at").await;
    at.send_keys("01202024").await.unwrap();
    visit.click("form.as-of button").await;
    visit.browser.find(".banner.as-of").await;
    for (_, path) in PAGES {
        visit.open(path).await;
        visit.browser.find("main h1, main .total, main .message").await;
    }
    visit.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody() {
    let test = "every_page_is_for_everybody";
    let Some(visit) = Visit::begin(test, Setup::default(), rich()).await else { return };
    visit.mirror.bury(1).await;
    visit.mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    let pictures = std::env::var_os("GHARVEST_TEST_PICTURES").map(std::path::PathBuf::from);
    let mut barriers = Vec::new();
    for (name, path) in PAGES {
        for (size, look) in [("wide", WIDE), ("narrow", NARROW)] {
            for (scheme, dark) in [("light", false), ("dark", true)] {
                visit.browser.look(Look { dark, ..look }).await;
                visit.open(path).await;
                // What the fourth would find, one of the others does.
                let found =
                    if dark && size == "narrow" { Some(Vec::new()) } else { visit.browser.barriers(test).await };
                let Some(found) = found else { return };
                barriers.extend(found.into_iter().map(|barrier| format!("{name}, {size}, {scheme}: {barrier}")));
                let wide = visit.too_wide().await;
                assert_eq!(wide, json!([]), "{name} at {} pixels", look.width);
                if let Some(folder) = &pictures {
                    std::fs::write(folder.join(format!("{name}-{size}-{scheme}.png")), visit.browser.picture().await)
                        .unwrap();
                }
            }
        }
        let shifts = "const done = arguments[0]; new PerformanceObserver(list => done(list.getEntries()\
            .reduce((sum, entry) => sum + entry.value, 0))).observe({type: 'layout-shift', buffered: true}); \
            setTimeout(() => done(0), 100);";
        let shift = visit.browser.window().execute_async(shifts, Vec::new()).await.unwrap();
        assert!(shift.as_f64().unwrap() < 0.01, "{name} moves by {shift}");
    }
    assert!(barriers.is_empty(), "{}", barriers.join("\n"));
    visit.ends_clean().await;
}

/// Texts that try to run, to load, to leave or to break the page.
fn hostile() -> Vec<String> {
    let run = "document.title='ran'";
    vec![
        format!("<script>{run}</script><img src=x onerror=\"{run}\"><svg onload=\"{run}\"><script>{run}</script></svg>"),
        format!("[a](javascript:{run}) <a href=\"jav&#x09;ascript:{run}\">b</a> [c](data:text/html,<script>{run}</script>)"),
        "<meta http-equiv=\"refresh\" content=\"0;url=http://192.0.2.1/\"><base href=\"http://192.0.2.1/\">".to_owned(),
        "<style>body{display:none}</style><link rel=stylesheet href=http://192.0.2.1/x.css><p style=\"position:fixed;inset:0;z-index:99\">over</p>".to_owned(),
        "<iframe src=http://192.0.2.1/></iframe><object data=http://192.0.2.1/></object><video src=http://192.0.2.1/ autoplay></video>".to_owned(),
        "![x](http://192.0.2.1/pixel.png) <img src=\"http://192.0.2.1/y.png\" srcset=\"http://192.0.2.1/z.png 2x\">".to_owned(),
        "\u{202e}txet desrever \u{2066}\u{2067}\u{202d} end".repeat(20),
        "\u{fffd}\u{0}\u{1}\u{7f}\u{feff} broken bytes \u{d7ff}\u{e000}".to_owned(),
        "x".repeat(65_536),
        "a\u{0301}\u{0301}\u{0301}\u{0301}\u{0301}\u{0301}".repeat(500),
        "> ".repeat(30_000),
        "<div>".repeat(5_000),
        format!("```\n{}\n```", "wide ".repeat(5_000)),
        format!("|{}|\n|{}|", "a|".repeat(200), "-|".repeat(200)),
        "<details open><summary>s</summary></div></main></body></html>".to_owned(),
        "<form action=http://192.0.2.1/><button>Press</button><input name=q autofocus></form>".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_items_run_nothing_and_break_nothing() {
    let test = "hostile_items_run_nothing_and_break_nothing";
    let texts = hostile();
    let all = texts[..6].join("\n");
    let mut thread = record(1, 4, Kind::Issue, &format!("hostile {all}"), &texts.join("\n\n")[..60_000]);
    let object = thread.issue.as_mut().unwrap();
    object["labels"] = json!([{"name": &all, "color": "\"><script>"}, {"name": "x".repeat(300), "color": "ffffff"}]);
    object["milestone"] = json!({"title": &all});
    thread.timeline =
        (0_u64..).zip(&texts).map(|(id, text)| comment(700 + id, "mallory", text, "2024-01-05T00:00:00Z")).collect();
    for name in ["labeled", "renamed", "milestoned", "cross-referenced", "locked", &all] {
        thread.timeline.push(json!({"event": name, "actor": user(&all), "created_at": "2024-01-06T00:00:00Z",
            "label": {"name": &all}, "rename": {"from": &all, "to": &texts[8]}, "milestone": {"title": &texts[6]},
            "source": {"issue": {"number": 1, "title": &all, "repository": {"full_name": &all}}}, "lock_reason": &all}));
    }
    let mut long = record(1, 5, Kind::Issue, "hostile line", &"y".repeat(1 << 20));
    long.timeline = vec![comment(800, "mallory", &"z ".repeat(1 << 19), "2024-01-05T00:00:00Z")];
    let Some(visit) = Visit::begin(test, Setup::default(), vec![thread, long]).await else { return };
    for look in [WIDE, NARROW] {
        visit.browser.look(look).await;
        for path in [
            "/octo/box/issues/4",
            "/octo/box/issues/5",
            "/?q=hostile",
            "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
            "/octo/box",
            "/",
        ] {
            visit.open(path).await;
            assert_eq!(visit.path().await, path, "nothing leads elsewhere");
            let title = visit.browser.evaluate("document.title").await;
            assert_ne!(title, "ran", "{path}");
            let sound = "document.querySelectorAll('script').length === 1 && document.querySelectorAll('header.top').length === 1 \
                && document.querySelector('body > footer') !== null && document.querySelectorAll('main iframe, main img, main form:not(.as-of), main style, main object').length === 0";
            assert_eq!(visit.browser.evaluate(sound).await, json!(true), "{path}");
            assert_eq!(visit.too_wide().await, json!([]), "{path} at {} pixels", look.width);
            // The box stands where it always stands, and takes the pointer.
            let reached = "(() => { const box = document.querySelector('[data-search]').getBoundingClientRect(); \
                return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === document.querySelector('[data-search]'); })()";
            assert_eq!(visit.browser.evaluate(reached).await, json!(true), "{path}: something lies over the box");
        }
    }
    assert_eq!(visit.mirror.state.clock.now(), now());
    visit.ends_clean().await;
}
