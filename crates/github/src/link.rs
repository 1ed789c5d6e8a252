//! The `Link` header: where the next page is, and which is the last.

use http::{HeaderMap, header};
use url::Url;

/// What `Link` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The address of the next page, as GitHub wrote it.
    pub(crate) next: Option<String>,
    /// The `page` parameter of the last page's address.
    pub(crate) last_page: Option<u64>,
}

impl Links {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut links = Self::default();
        for value in headers.get_all(header::LINK) {
            let mut rest = value.to_str().unwrap_or_default();
            while let Some((address, relation, after)) = next_link(rest) {
                match relation {
                    "next" => links.next = Some(address.to_owned()),
                    "last" => links.last_page = page_of(address),
                    _ => {}
                }
                rest = after;
            }
        }
        links
    }
}

/// The first `<address>; rel="relation"` of a text, and what follows it. An address may contain commas.
fn next_link(text: &str) -> Option<(&str, &str, &str)> {
    let (_, text) = text.split_once('<')?;
    let (address, text) = text.split_once('>')?;
    let end = text.find('<').unwrap_or(text.len());
    let (parameters, rest) = text.split_at(end);
    let relation = parameters.split([';', ',']).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"'))
    });
    Some((address, relation.unwrap_or_default(), rest))
}

fn page_of(address: &str) -> Option<u64> {
    let url = Url::parse(address).ok()?;
    url.query_pairs().find(|(name, _)| name == "page").and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(value: &'static str) -> Links {
        Links::of(&HeaderMap::from_iter([(header::LINK, value.parse().unwrap())]))
    }

    #[test]
    fn next_and_last_are_found_in_every_order_and_spelling() {
        let next = Some("https://api.github.com/repositories/7/issues?after=a,b%3D&page=2".to_owned());
        for value in [
            r#"<https://api.github.com/repositories/7/issues?after=a,b%3D&page=2>; rel="next", <https://api.github.com/x?page=9&b=1>; rel="last""#,
            r#"<https://api.github.com/x?page=9>;rel=last,<https://api.github.com/repositories/7/issues?after=a,b%3D&page=2>;title="x";rel=next"#,
        ] {
            assert_eq!(links(value), Links { next: next.clone(), last_page: Some(9) }, "{value}");
        }
    }

    #[test]
    fn broken_headers_say_nothing() {
        for value in ["", "<", "<>", r#"rel="next""#, r#"<https://x/?page=x>; rel="last""#, "<a>; rel", ">>><<<"] {
            assert_eq!(links(value), Links::default(), "{value}");
        }
    }
}
