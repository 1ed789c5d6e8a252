//! GitHub-flavoured Markdown, made safe.
//!
//! Text of strangers goes through three steps: comrak makes HTML of it (raw HTML included, as on GitHub), ammonia
//! keeps only what is harmless, and [`finish`] links what belongs to the mirror. The last step sees only ammonia's
//! canonical output and writes nothing but that output, escaped, and links of its own. Pictures are not loaded from
//! elsewhere: they become links. Input is bounded in length and depth before any step whose cost or stack grows with
//! either; what is beyond is shown as plain text.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
    time::Instant,
};

use ammonia::Builder;
use comrak::Options;
use gharvest_archive::attachment_name;
use gharvest_model::RepositoryName;
use maud::{Markup, PreEscaped, html};

mod finish;

/// The longest text rendered as Markdown, bytes; GitHub's own limit is 65,536 characters.
const LONGEST: usize = 262_144;

/// The deepest nesting of elements that is rendered.
const DEEPEST: usize = 100;

/// Where a text stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The repository that `#123` belongs to.
    pub(crate) repository: &'a RepositoryName,
    /// Base of GitHub's pages, no trailing slash.
    pub(crate) github_url: &'a str,
    /// Images that the archive keeps; others become links.
    pub(crate) pictures: &'a Pictures,
    /// Keeps footnotes of one text apart from those of others on the page.
    pub(crate) anchor: &'a str,
    /// After this moment texts are shown plainly: a page full of costly texts must end as well.
    pub(crate) deadline: Instant,
}

/// Images of a thread that the archive keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pictures {
    /// The address below which they are served, no trailing slash.
    pub(crate) base: String,
    /// Their names: [`attachment_name`] of the addresses in the texts.
    pub(crate) names: HashSet<String>,
}

impl Pictures {
    /// Where the image of an address is served, if it is kept.
    fn of(&self, address: &str) -> Option<String> {
        if self.names.is_empty() {
            return None;
        }
        let name = attachment_name(url::Url::parse(address).ok()?.as_str());
        self.names.contains(&name).then(|| format!("{}/{name}", self.base))
    }
}

/// Renders a text of strangers.
pub(crate) fn render(source: &str, place: &Place<'_>) -> Markup {
    if source.len() > LONGEST {
        return plain(source, "This text is too long to be shown as Markdown.");
    }
    if Instant::now() > place.deadline {
        return plain(source, "This page takes long, so the rest of it is not shown as Markdown.");
    }
    let rough = comrak::markdown_to_html(source, &OPTIONS);
    if depth(&rough) > DEEPEST {
        return plain(source, "This text is nested too deeply to be shown as Markdown.");
    }
    let clean = SANITIZER.clean(&rough).to_string();
    PreEscaped(finish::finish(&clean, place))
}

/// The text as it was typed, as far as the limit; all of it stands in the raw record.
fn plain(source: &str, why: &str) -> Markup {
    let mut end = LONGEST.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let shown = &source[..end];
    html! {
        p class="note" { (why) }
        pre class="plain" tabindex="0" { (shown) }
    }
}

static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    let extension = &mut options.extension;
    extension.strikethrough = true;
    extension.table = true;
    extension.autolink = true;
    extension.tasklist = true;
    extension.footnotes = true;
    extension.alerts = true;
    extension.shortcodes = true;
    options.parse.relaxed_tasklist_matching = true;
    let render = &mut options.render;
    render.hardbreaks = true;
    render.github_pre_lang = true;
    render.gfm_quirks = true;
    // Raw HTML is kept here and sanitised below.
    render.r#unsafe = true;
    options
});

static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .add_tags(["input", "section", "tt"])
        .add_tag_attributes("input", ["checked", "disabled"])
        .add_tag_attribute_values("input", "type", ["checkbox"])
        .add_tag_attributes("details", ["open"])
        .add_tag_attributes("a", ["id"])
        .add_tag_attributes("li", ["id"])
        .allowed_classes(HashMap::from([
            ("div", HashSet::from(ALERTS)),
            ("p", HashSet::from(["markdown-alert-title"])),
            ("sup", HashSet::from(["footnote-ref"])),
            ("section", HashSet::from(["footnotes"])),
            ("a", HashSet::from(["footnote-backref"])),
        ]))
        .url_schemes(HashSet::from(["http", "https", "mailto", "ftp", "irc", "ircs", "xmpp", "git", "ssh", "tel"]))
        .link_rel(None)
        .attribute_filter(|_, attribute, value| match attribute {
            // Only the ids that footnotes need: others could pose as ours.
            "id" => (value.starts_with("fn-") || value.starts_with("fnref-")).then(|| value.into()),
            _ => Some(value.into()),
        });
    builder
});

const ALERTS: [&str; 6] = [
    "markdown-alert",
    "markdown-alert-note",
    "markdown-alert-tip",
    "markdown-alert-important",
    "markdown-alert-warning",
    "markdown-alert-caution",
];

/// How deep the elements of an HTML text nest, counting tags without building anything.
fn depth(html: &str) -> usize {
    let bytes = html.as_bytes();
    let (mut open, mut deepest) = (0_usize, 0_usize);
    for (at, _) in html.match_indices('<') {
        match bytes.get(at + 1) {
            Some(b'/') => open = open.saturating_sub(1),
            Some(byte) if byte.is_ascii_alphabetic() && !is_void(&html[at + 1..]) => {
                open += 1;
                deepest = deepest.max(open);
            }
            _ => {}
        }
    }
    deepest
}

fn is_void(tag: &str) -> bool {
    let name = tag.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or("");
    ["br", "hr", "img", "input", "wbr"].iter().any(|void| void.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> String {
        rendered_with(source, &Pictures::default())
    }

    fn rendered_with(source: &str, pictures: &Pictures) -> String {
        let repository = "a/b".parse().unwrap();
        render(
            source,
            &Place {
                repository: &repository,
                github_url: "https://github.com",
                pictures,
                anchor: "c1",
                deadline: Instant::now() + std::time::Duration::from_secs(60),
            },
        )
        .into_string()
    }

    #[test]
    fn github_flavoured_markdown_is_rendered() {
        for (source, expected) in [
            ("- [x] done", r#"<input type="checkbox" disabled checked aria-label="done">"#),
            ("|a|\n|-|\n|b|", "<td>b</td>"),
            ("~~no~~ :tada:", "<del>no</del> 🎉"),
            ("> [!NOTE]\n> hear", r#"<div class="markdown-alert markdown-alert-note">"#),
            ("<details><summary>more</summary>text</details>", "<details><summary>more</summary>text</details>"),
            ("a\nb", "a<br>"),
            ("```rust\nlet x = 1;\n```", r#"<span class="hk">let</span>"#),
        ] {
            assert!(rendered(source).contains(expected), "{source}: {}", rendered(source));
        }
    }

    #[test]
    fn what_people_refer_to_is_linked_inside_the_mirror() {
        for (source, expected) in [
            ("see #12", r#"see <a href="/a/b/issues/12">#12</a>"#),
            ("(c/d#3)", r#"(<a href="/c/d/issues/3">c/d#3</a>)"#),
            ("GH-4", r#"<a href="/a/b/issues/4">GH-4</a>"#),
            ("thanks @some-body!", r#"<a href="/?q=involves%3Asome-body" class="mention">@some-body</a>!"#),
            ("0123456789abcdef", r#"<a href="/?q=0123456789abcdef"><code>0123456789</code></a>"#),
            ("https://github.com/c/d/pull/7#issuecomment-1", r#"href="/c/d/pull/7#issuecomment-1""#),
            ("https://github.com/a/b/pull/7#issuecomment-1", ">#7 (comment)</a>"),
            ("https://github.com/c/d/issues/7", ">c/d#7</a>"),
            ("[x](docs/a.md)", r#"href="https://github.com/a/b/blob/HEAD/docs/a.md""#),
            ("[x](https://example.com)", r#"rel="nofollow noopener noreferrer""#),
        ] {
            assert!(rendered(source).contains(expected), "{source}: {}", rendered(source));
        }
        for source in ["`#12`", "mail@example.com", "1234567890", "a#12", "&#35;12x", "word@host"] {
            assert!(!rendered(source).contains("href=\"/"), "{source}: {}", rendered(source));
        }
    }

    #[test]
    fn footnotes_of_two_texts_do_not_meet() {
        let shown = rendered("word[^1]\n\n[^1]: note");
        assert!(shown.contains(r##"href="#c1-fn-1""##) && shown.contains(r#"id="c1-fn-1""#), "{shown}");
    }

    #[test]
    fn pictures_become_links_and_load_nothing() {
        let shown = rendered("![a cat](https://example.com/cat.png) <img src=x onerror=alert(1)>");
        assert!(!shown.contains("<img") && !shown.contains("onerror"), "{shown}");
        assert!(shown.contains(r#"<a class="picture" href="https://example.com/cat.png""#), "{shown}");
        let nested = rendered("[![badge](https://example.com/b.svg)](https://example.com)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
    }

    #[test]
    fn a_picture_that_is_kept_is_shown_from_here() {
        let name = attachment_name("https://img.test/a?b=1&c=2");
        let pictures = Pictures { base: "/-/a/b/7/attachments".to_owned(), names: HashSet::from([name.clone()]) };
        for source in [
            "![\"><script>](https://img.test/a?b=1&c=2)",
            "<img width=3 alt='\"><script>' src='https://img.test/a?b=1&amp;c=2' onerror=alert(1)>",
        ] {
            let shown = rendered_with(source, &pictures);
            let image = format!(
                "<a class=\"picture\" href=\"https://img.test/a?b=1&amp;c=2\" rel=\"nofollow noopener noreferrer\">\
                 <img src=\"/-/a/b/7/attachments/{name}\" alt=\"&quot;&gt;&lt;script&gt;\" loading=\"lazy\"></a>"
            );
            assert!(shown.contains(&image) && !shown.contains("onerror"), "{shown}");
        }
        let other = rendered_with("![x](https://img.test/other)", &pictures);
        assert!(!other.contains("<img"), "{other}");
    }

    #[test]
    fn nothing_hostile_survives() {
        let sources = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a> [x](javascript:alert(1)) [x](JaVaScRiPt:alert(1)) [x](data:text/html,x)",
            "<a href=\" &#x6a;avascript:alert(1)\">x</a> [x](java\tscript:alert(1)) [x](vbscript:x)",
            "<svg onload=alert(1)><script>x</script></svg><math><mi xlink:href=\"javascript:x\">",
            "<style>body{display:none}</style><p style=\"position:fixed\">x</p><link rel=stylesheet href=//evil>",
            "<meta http-equiv=refresh content=\"0;url=//evil\"><base href=//evil><iframe src=//evil></iframe>",
            "<form action=//evil><input type=text name=x><button>x</button></form><textarea>",
            "<div class=\"top\" id=\"main\" onclick=\"x\">x</div><object data=x><embed src=x>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<p title='<img src=x onerror=alert(1)>'>x</p>",
            "<a title=\"x>y\" href=\"https://e.com/&quot; onmouseover=alert(1) x=&quot;\">x</a>",
            "![x](javascript:alert(1)) ![\"><script>alert(1)</script>](https://e.com/x)",
            "[x](https://e.com/\"onclick=alert(1)) `<script>`",
        ];
        for source in sources {
            let shown = rendered(source);
            let tags: Vec<&str> = shown.split('<').skip(1).map(finish::first_tag).collect();
            for tag in tags {
                let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap_or("");
                for bad in [
                    "script", "style", "svg", "math", "meta", "base", "iframe", "form", "button", "textarea", "object",
                    "embed", "link", "img", "noscript",
                ] {
                    assert_ne!(name, bad, "{source}: {shown}");
                }
                let outside_quotes: String = tag.split('"').step_by(2).collect();
                assert!(!outside_quotes.contains(" on") && !outside_quotes.contains("style="), "{source}: {shown}");
                assert!(
                    !tag.to_lowercase().contains("\"javascript:")
                        && !tag.contains("\"data:")
                        && !tag.contains("\"vbscript:"),
                    "{source}: {shown}"
                );
                assert!(!tag.contains("class=\"top\"") && !tag.contains("id=\"main\""), "{source}: {shown}");
            }
        }
    }

    #[test]
    fn deep_and_long_texts_neither_overflow_the_stack_nor_nest_in_the_page() {
        let many = |text: &str| text.repeat(65_536 / text.len());
        let deep: String = (0..300).map(|depth| format!("{}- x\n", "  ".repeat(depth))).collect();
        let texts = [
            many("> "),
            many("- "),
            many("["),
            many("*a "),
            many("<div>"),
            many("<b><i>"),
            many("1. "),
            many("!["),
            many("`"),
            many("|"),
            many("<a><b>"),
            many("_*"),
            many("[^1]"),
            many("~~"),
            many("<table><tr><td>"),
            many("<!--"),
            many("\\"),
            many("&amp;"),
            many("@a #1 "),
            deep,
            "x".repeat(1 << 20),
        ];
        // A thread's stack as small as those that render pages.
        let check = move || {
            for text in texts {
                let shown = rendered(&text);
                assert!(shown.len() < 4 << 20, "{} bytes of {:?}", shown.len(), &text[..6]);
                assert!(depth(&shown) <= DEEPEST + 2, "{:?}", &text[..6]);
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(check).unwrap().join().unwrap();
    }
}
