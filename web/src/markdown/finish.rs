//! The last step of rendering: links of the mirror, placeholders of pictures.
//!
//! Works on the sanitiser's output, in which every tag is well formed and every attribute stands in double quotes.

use std::sync::LazyLock;

use maud::html;
use regex::Regex;

use super::Place;
use crate::{code, links};

/// Links mentions, references and commits, and replaces pictures and foreign links, in sanitised HTML.
pub(super) fn finish(clean: &str, place: &Place<'_>) -> String {
    let mut writer = Writer {
        place,
        output: String::with_capacity(clean.len() * 5 / 4),
        in_link: 0,
        in_code: 0,
        language: None,
        address: None,
    };
    let mut rest = clean;
    while let Some(at) = rest.find('<') {
        writer.text(&rest[..at]);
        let tag = &rest[at..at + tag_length(&rest[at..])];
        writer.tag(tag);
        rest = &rest[at + tag.len()..];
    }
    writer.text(rest);
    writer.output
}

struct Writer<'a> {
    place: &'a Place<'a>,
    output: String,
    in_link: usize,
    in_code: usize,
    /// The language of the code block that we are in.
    language: Option<String>,
    /// The address of the link that we are in.
    address: Option<String>,
}

/// The length of the tag at the beginning, its `>` included; one inside quotes does not end it.
fn tag_length(html: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in html.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'>' if !quoted => return at + 1,
            _ => {}
        }
    }
    html.len()
}

/// An attribute's value, unescaped.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("=\"") {
        let (value, behind) = after.split_once('"')?;
        if before.rsplit(' ').next() == Some(name) {
            return Some(unescape(value));
        }
        rest = behind;
    }
    None
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&")
}

impl Writer<'_> {
    fn tag(&mut self, tag: &str) {
        let name = tag.trim_start_matches(['<', '/']).split([' ', '>']).next().unwrap_or("");
        let closing = tag.starts_with("</");
        match (name, closing) {
            ("a", false) => self.link(tag),
            ("a", true) => {
                self.in_link = self.in_link.saturating_sub(1);
                self.output.push_str("</a>");
            }
            ("img", _) => self.picture(tag),
            ("input", _) => self.checkbox(tag),
            ("li", false) => self.list_item(tag),
            ("pre", false) => {
                self.language = attribute(tag, "lang");
                self.in_code += 1;
                self.output.push_str("<pre tabindex=\"0\">");
            }
            ("code" | "kbd" | "samp" | "tt", false) => {
                self.in_code += 1;
                self.output.push_str(tag);
            }
            ("pre" | "code" | "kbd" | "samp" | "tt", true) => {
                self.in_code = self.in_code.saturating_sub(1);
                if name == "pre" {
                    self.language = None;
                }
                self.output.push_str(tag);
            }
            ("table", false) => self.output.push_str("<div class=\"scroll\" tabindex=\"0\"><table>"),
            ("table", true) => self.output.push_str("</table></div>"),
            _ => self.output.push_str(tag),
        }
    }

    fn link(&mut self, tag: &str) {
        self.in_link += 1;
        self.address = attribute(tag, "href");
        let href = self.address.as_deref().map(|href| self.target(href));
        let id = attribute(tag, "id").map(|id| format!("{}-{id}", self.place.anchor));
        let title = attribute(tag, "title");
        let is_foreign = href.as_deref().is_some_and(|href| !href.starts_with(['/', '#', '?']));
        let rel = is_foreign.then_some("nofollow noopener noreferrer");
        let back = tag.contains("footnote-backref").then_some("footnote-backref");
        let label = attribute(tag, "aria-label");
        let open =
            html! { a href=[href] id=[id] title=[title] rel=[rel] class=[back] aria-label=[label] {} }.into_string();
        self.output.push_str(open.trim_end_matches("</a>"));
    }

    /// Where a link leads: into the mirror where the mirror may have it.
    fn target(&self, href: &str) -> String {
        if let Some(fragment) = href.strip_prefix('#') {
            return match fragment.starts_with("fn") {
                true => format!("#{}-{fragment}", self.place.anchor),
                false => href.to_owned(),
            };
        }
        if let Some(path) = href.strip_prefix(self.place.github_url) {
            return local_path(path).unwrap_or_else(|| href.to_owned());
        }
        if href.contains(':') || href.starts_with("//") {
            return href.to_owned();
        }
        match href.strip_prefix('/') {
            Some(path) => format!("{}/{path}", self.place.github_url),
            None => format!("{}/{}/blob/HEAD/{href}", self.place.github_url, self.place.repository),
        }
    }

    /// A bare address of GitHub as people write it: `#12 (comment)`, `owner/name#12`, `owner/name@0123456789`.
    fn short(&self, address: &str) -> Option<String> {
        let path = address.strip_prefix(self.place.github_url)?.strip_prefix('/')?;
        let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
        let [owner, name, word, what] = path.split('/').collect::<Vec<_>>()[..] else { return None };
        let full_name = format!("{owner}/{name}");
        let prefix = if full_name.eq_ignore_ascii_case(&self.place.repository.to_string()) { "" } else { &full_name };
        match word {
            "issues" | "pull" if what.parse::<u64>().is_ok() => {
                let place = match fragment.split(['-', '_']).next() {
                    Some("") | None => "",
                    Some("pullrequestreview") => " (review)",
                    Some(_) => " (comment)",
                };
                Some(format!("{prefix}#{what}{place}"))
            }
            "commit" if what.len() == 40 => Some(format!("{full_name}@{}", what.get(..10)?)),
            _ => None,
        }
    }

    fn picture(&mut self, tag: &str) {
        let alt = attribute(tag, "alt").filter(|alt| !alt.trim().is_empty());
        let source =
            attribute(tag, "src").filter(|source| source.starts_with("https://") || source.starts_with("http://"));
        let kept = source.as_deref().and_then(|source| self.place.pictures.of(source));
        let words = match (kept, alt) {
            (Some(kept), alt) => html! { img src=(kept) alt=(alt.as_deref().unwrap_or("picture")) loading="lazy"; },
            (None, Some(alt)) => html! { "picture: " (alt) },
            (None, None) => html! { "picture" },
        };
        let markup = match source {
            // A link inside a link is not HTML.
            Some(source) if self.in_link == 0 => {
                html! { a class="picture" href=(source) rel="nofollow noopener noreferrer" { (words) } }
            }
            _ => html! { span class="picture" { (words) } },
        };
        self.output.push_str(&markup.into_string());
    }

    fn checkbox(&mut self, tag: &str) {
        if !tag.contains("type=\"checkbox\"") {
            return;
        }
        let checked = tag.contains(" checked=");
        let label = if checked { "done" } else { "to do" };
        self.output
            .push_str(&html! { input type="checkbox" disabled checked[checked] aria-label=(label); }.into_string());
    }

    fn list_item(&mut self, tag: &str) {
        let id = attribute(tag, "id").map(|id| format!("{}-{id}", self.place.anchor));
        let value = attribute(tag, "value");
        let open = html! { li id=[id] value=[value] {} }.into_string();
        self.output.push_str(open.trim_end_matches("</li>"));
    }

    fn text(&mut self, text: &str) {
        if self.in_code > 0 {
            match &self.language {
                Some(language) => code::highlight(text, language, &mut self.output),
                None => self.output.push_str(text),
            }
        } else if self.in_link > 0 {
            let short = self
                .address
                .as_deref()
                .filter(|address| *address == unescape(text))
                .and_then(|address| self.short(address));
            match short {
                Some(short) => self.output.push_str(&html! { (short) }.into_string()),
                None => self.output.push_str(text),
            }
        } else {
            self.references(text);
        }
    }

    /// Links what people refer to. The text is escaped already, and what is linked holds no character that needs it.
    fn references(&mut self, text: &str) {
        let mut done = 0;
        for found in REFERENCE.captures_iter(text) {
            let Some(whole) = found.get(0) else { continue };
            let before = text[..whole.start()].bytes().next_back();
            if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_/.@#-&".contains(&byte)) {
                continue;
            }
            let Some(path) = self.reference(&found) else { continue };
            self.output.push_str(&text[done..whole.start()]);
            let class = if found.name("login").is_some() { Some("mention") } else { None };
            let link = match found.name("sha") {
                Some(sha) => html! { a href=(path) { code { (&sha.as_str()[..sha.len().min(10)]) } } },
                None => html! { a href=(path) class=[class] { (maud::PreEscaped(whole.as_str())) } },
            };
            self.output.push_str(&link.into_string());
            done = whole.end();
        }
        self.output.push_str(&text[done..]);
    }

    fn reference(&self, found: &regex::Captures<'_>) -> Option<String> {
        if let Some(login) = found.name("login") {
            return Some(links::search(&format!("involves:{}", login.as_str())));
        }
        if let Some(number) = found.name("number").or_else(|| found.name("gh")) {
            let repository = found
                .name("repository")
                .map_or_else(|| self.place.repository.to_string(), |repository| repository.as_str().to_owned());
            let number = number.as_str().parse().ok()?;
            return Some(links::item(&repository, gharvest_model::Kind::Issue, number));
        }
        let sha = found.name("sha")?.as_str();
        let is_sha =
            sha.bytes().any(|byte| byte.is_ascii_digit()) && sha.bytes().any(|byte| byte.is_ascii_alphabetic());
        is_sha.then(|| links::search(sha))
    }
}

/// The path of our own page for a path on GitHub: items only, the rest is not mirrored.
fn local_path(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix('/')?.splitn(4, '/');
    let (owner, name, word, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let number = rest[..digits].parse().ok()?;
    let kind = match word {
        "issues" => gharvest_model::Kind::Issue,
        "pull" => gharvest_model::Kind::PullRequest,
        _ => return None,
    };
    // Other views of a pull request (its files, its commits) are GitHub's.
    let fragment = &rest[digits..];
    if !(fragment.is_empty() || fragment.starts_with('#')) {
        return None;
    }
    Some(format!("{}{fragment}", links::item(&format!("{owner}/{name}"), kind, number)))
}

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"@(?<login>[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})\b|(?<repository>[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.-]{1,100})?#(?<number>[1-9][0-9]{0,8})\b|\bGH-(?<gh>[1-9][0-9]{0,8})\b|\b(?<sha>[0-9a-f]{7,40})\b";
    Regex::new(pattern).expect("the pattern is a constant that tests run")
});

/// For tests: the tag at the beginning of what follows a `<`, without quotes ending it early.
#[cfg(test)]
pub(super) fn first_tag(rest: &str) -> &str {
    &rest[..tag_length(rest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hide_the_end_of_a_tag() {
        assert_eq!(tag_length(r#"<a title="x>y" href="z">text"#), 24);
    }

    #[test]
    fn attributes_are_found_by_their_whole_name() {
        let tag = r#"<a data-href="no" href="yes&amp;no" title="href=">"#;
        assert_eq!(attribute(tag, "href").as_deref(), Some("yes&no"));
        assert_eq!(attribute(tag, "src"), None);
    }

    #[test]
    fn only_threads_are_ours() {
        assert_eq!(local_path("/a/b/issues/3#issuecomment-9").as_deref(), Some("/a/b/issues/3#issuecomment-9"));
        assert_eq!(local_path("/a/b/pull/3/files"), None);
        assert_eq!(local_path("/a/b/blob/main/x"), None);
    }
}
