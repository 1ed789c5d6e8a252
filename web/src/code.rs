//! Code: a small highlighter, and diff hunks.
//!
//! The highlighter knows no grammar: comments, strings, numbers and the words that most languages keep for
//! themselves. It works on escaped text and adds only spans of its own.

use maud::{Markup, html};

/// Longer code is shown without colours.
const LONGEST: usize = 65_536;

/// Words that common languages reserve.
const KEYWORDS: [&str; 66] = [
    "abstract",
    "as",
    "async",
    "auto",
    "await",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "continue",
    "def",
    "default",
    "do",
    "double",
    "elif",
    "else",
    "enum",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "goto",
    "if",
    "impl",
    "import",
    "in",
    "int",
    "interface",
    "let",
    "long",
    "loop",
    "match",
    "mod",
    "mut",
    "namespace",
    "new",
    "nil",
    "null",
    "private",
    "protected",
    "pub",
    "public",
    "return",
    "self",
    "sizeof",
    "static",
    "struct",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "type",
    "unsigned",
    "use",
    "void",
    "while",
];

/// What begins a comment that lasts to the end of its line.
fn line_comment(language: &str) -> &'static str {
    match language {
        "python" | "py" | "sh" | "bash" | "shell" | "zsh" | "ruby" | "rb" | "yaml" | "yml" | "toml" | "perl"
        | "make" | "makefile" | "dockerfile" | "cmake" | "r" | "console" => "#",
        "sql" | "lua" | "haskell" | "hs" | "ada" => "--",
        "lisp" | "clojure" | "asm" | "scheme" | "ini" => ";",
        "tex" | "latex" | "matlab" | "erlang" => "%",
        _ => "//",
    }
}

/// Writes escaped code with its tokens marked.
pub(crate) fn highlight(escaped: &str, language: &str, output: &mut String) {
    let language = language.to_ascii_lowercase();
    if language == "diff" || language == "patch" {
        return highlight_diff(escaped, output);
    }
    if escaped.len() > LONGEST || matches!(language.as_str(), "text" | "txt" | "plain" | "plaintext" | "log") {
        return output.push_str(escaped);
    }
    let comment = line_comment(&language);
    let mut rest = escaped;
    while let Some(first) = rest.chars().next() {
        let (length, class) = token(rest, first, comment);
        let (text, behind) = rest.split_at(length);
        match class {
            Some(class) => span(class, text, output),
            None => output.push_str(text),
        }
        rest = behind;
    }
}

fn span(class: &str, text: &str, output: &mut String) {
    output.push_str("<span class=\"");
    output.push_str(class);
    output.push_str("\">");
    output.push_str(text);
    output.push_str("</span>");
}

/// The length and class of the token at the beginning; never 0.
fn token(rest: &str, first: char, comment: &str) -> (usize, Option<&'static str>) {
    if rest.starts_with(comment) {
        return (rest.find('\n').unwrap_or(rest.len()), Some("hc"));
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |at| at + 2), Some("hc"));
    }
    match first {
        '"' | '`' => (string_length(rest, first), Some("hs")),
        '0'..='9' => {
            let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.' || letter == '_'));
            (end.unwrap_or(rest.len()), Some("hn"))
        }
        // An escaped character of HTML is one token, so that no span splits it.
        '&' => (rest.find(';').map_or(1, |at| if at < 8 { at + 1 } else { 1 }), None),
        letter if letter.is_alphabetic() || letter == '_' => {
            let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
            let class = KEYWORDS.binary_search(&&rest[..end]).is_ok().then_some("hk");
            (end, class)
        }
        other => (other.len_utf8(), None),
    }
}

/// The length of a string literal; one that does not end on its line is only its quote.
fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            '\n' => break,
            '\\' if !escaped => escaped = true,
            letter if letter == quote && !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    1
}

fn highlight_diff(escaped: &str, output: &mut String) {
    for line in escaped.split_inclusive('\n') {
        match diff_class(line) {
            Some(class) => span(class, line, output),
            None => output.push_str(line),
        }
    }
}

fn diff_class(line: &str) -> Option<&'static str> {
    match line.bytes().next() {
        Some(b'+') => Some("da"),
        Some(b'-') => Some("dr"),
        Some(b'@') => Some("dh"),
        _ => None,
    }
}

/// How many lines of a hunk are shown before somebody asks for more.
const HUNK_TAIL: usize = 6;

/// A diff hunk of a review comment: its end, where the comment stands, and the rest on demand.
pub(crate) fn hunk(text: &str) -> Markup {
    let lines: Vec<&str> = text.lines().take(2_000).collect();
    let (earlier, tail) = lines.split_at(lines.len().saturating_sub(HUNK_TAIL));
    html! {
        @if !earlier.is_empty() {
            details class="hunk" {
                summary { (earlier.len()) " earlier lines" }
                pre tabindex="0" { code { (diff_lines(earlier)) } }
            }
        }
        pre class="hunk" tabindex="0" { code { (diff_lines(tail)) } }
    }
}

fn diff_lines(lines: &[&str]) -> Markup {
    html! { @for line in lines { span class=[diff_class(line)] { (line) "\n" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highlighted(code: &str, language: &str) -> String {
        let mut output = String::new();
        highlight(code, language, &mut output);
        output
    }

    #[test]
    fn keywords_are_sorted_for_binary_search() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn tokens_are_marked_and_nothing_is_lost() {
        assert_eq!(
            highlighted("if x &lt; 10 // no", "rust"),
            r#"<span class="hk">if</span> x &lt; <span class="hn">10</span> <span class="hc">// no</span>"#
        );
        assert_eq!(highlighted("\"unended\n&amp;é", "c"), "<span class=\"hs\">\"</span>unended\n&amp;é");
    }
}
