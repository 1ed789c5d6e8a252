//! Texts as people see them: HTML comments, which issue templates are full of, are left out.

/// The text without HTML comments. In fenced code they stay; one that is never closed reaches to the end if it begins
/// a line, as in GitHub's Markdown, and is plain text otherwise.
pub(crate) fn without_html_comments(text: &str) -> String {
    if !text.contains("<!--") {
        return text.to_owned();
    }
    // Looked for once: a text full of openings without an end must not cost the square of its length.
    let last_end = text.rfind("-->").unwrap_or(0);
    let mut kept = String::with_capacity(text.len());
    let mut fence: Option<(char, usize)> = None;
    let (mut at, mut line_start, mut line_end) = (0, 0, 0);
    while at < text.len() {
        if at >= line_end {
            line_start = at;
            line_end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
            let marks = fence_of(&text[at..line_end]);
            let is_code = fence.is_some() || marks.is_some();
            fence = after_line(fence, marks);
            if is_code {
                kept.push_str(&text[at..line_end]);
                at = line_end;
                continue;
            }
        }
        let Some(opening) = text[at..line_end].find(OPENING).map(|offset| at + offset) else {
            kept.push_str(&text[at..line_end]);
            at = line_end;
            continue;
        };
        kept.push_str(&text[at..opening]);
        let end = if opening < last_end { text[opening..].find("-->") } else { None };
        at = match end {
            Some(offset) => opening + offset + "-->".len(),
            None if opening - line_start < 4 && text[line_start..opening].trim_start_matches(' ').is_empty() => break,
            None => {
                kept.push_str(OPENING);
                opening + OPENING.len()
            }
        };
    }
    kept
}

const OPENING: &str = "<!--";

/// The fence that is open after a line: one is closed by at least as many of its own marks.
fn after_line(fence: Option<(char, usize)>, line: Option<(char, usize)>) -> Option<(char, usize)> {
    match (fence, line) {
        (None, opened) => opened,
        (Some(open), Some(marks)) if open.0 == marks.0 && marks.1 >= open.1 => None,
        (open, _) => open,
    }
}

/// The kind and number of marks, if a line opens or closes fenced code.
fn fence_of(line: &str) -> Option<(char, usize)> {
    let content = line.trim_start_matches(' ');
    let mark = content.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let marks = content.chars().take_while(|next| *next == mark).count();
    (marks >= 3 && line.len() - content.len() < 4).then_some((mark, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_comments_are_left_out_but_not_in_code() {
        assert_eq!(without_html_comments("a <!-- x\ny --> b"), "a  b");
        assert_eq!(without_html_comments("<!-- template -->\nReal text"), "\nReal text");
        assert_eq!(without_html_comments("seen\n<!-- never closed\nmore"), "seen\n");
        assert_eq!(without_html_comments("the `<!--` mark\nmore"), "the `<!--` mark\nmore");
        let code = "```html\n<!-- kept -->\n```\n<!-- gone -->end";
        assert_eq!(without_html_comments(code), "```html\n<!-- kept -->\n```\nend");
        assert_eq!(without_html_comments("<!---->x<!-- --><!-- -->y"), "xy");
    }
}
