//! The API's base address: what lies under it, and what does not.
//!
//! A token is only ever sent to an address under the base, so that a hostile `Link` or `Location` cannot carry it away.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{Error, ErrorKind, Result};

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The base address of the REST API, checked, without a trailing slash in its path.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    url: Url,
    /// `""` for github.com, `/api/v3` for GitHub Enterprise.
    prefix: String,
}

impl Base {
    /// Reads the setting.
    pub(crate) fn parse(api_url: &str) -> Result<Self> {
        let wrong =
            |why: &str| Error::new(ErrorKind::Misconfigured, "settings", format!("[github] api_url `{api_url}` {why}"));
        let url = Url::parse(api_url.trim()).map_err(|error| wrong("is not a URL").with_source(error))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("must begin with https:// or http:// and a host"));
        }
        if url.query().is_some() || url.fragment().is_some() || has_credentials(&url) {
            return Err(wrong("must be an address alone, with no query, fragment or user"));
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self { url, prefix })
    }

    /// Whether requests go over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The address of a path below the base, its parts percent-encoded here, with a query of documented parameters.
    pub(crate) fn join(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut path = self.prefix.clone();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let mut url = self.url.clone();
        url.set_path(&path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// An address that GitHub gave, if it lies under the base.
    pub(crate) fn admit(&self, address: &str) -> Result<Url> {
        let refused = || {
            Error::new(
                ErrorKind::Refused,
                "an address from an answer",
                format!("`{}` does not lie under {}: not asked, so that no token leaves", cut(address), self.url),
            )
        };
        let mut url = Url::parse(address).map_err(|error| refused().with_source(error))?;
        url.set_fragment(None);
        let inside = url.path() == self.prefix
            || url.path().strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let same_origin = url.origin() == self.url.origin();
        if inside && same_origin && !has_credentials(&url) { Ok(url) } else { Err(refused()) }
    }

    /// The base without a slash at its end, as objects' addresses begin.
    pub(crate) fn to_text(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// The address of the GraphQL API: `/graphql`, and beside `v3` on GitHub Enterprise.
    pub(crate) fn graphql(&self) -> Url {
        let mut url = self.url.clone();
        let parent = self.prefix.strip_suffix("/v3").unwrap_or(&self.prefix);
        url.set_path(&format!("{parent}/graphql"));
        url
    }

    /// The address without the parts before the API's own paths, for logs and errors: `/repos/a/b/issues`.
    pub(crate) fn label<'a>(&self, url: &'a Url) -> &'a str {
        url.path().strip_prefix(self.prefix.as_str()).unwrap_or(url.path())
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The first 200 characters of a remote text, without control characters: fit for a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_under_the_base_are_admitted() {
        let base = Base::parse("https://ghe.example/api/v3/").unwrap();
        for address in [
            "https://ghe.example/api/v3/repositories/7/issues?after=x%3D",
            "https://ghe.example:443/api/v3/repos/a/b",
            "HTTPS://GHE.example/api/v3/repos",
        ] {
            assert!(base.admit(address).is_ok(), "{address}");
        }
        for address in [
            "https://evil.example/api/v3/repos",
            "http://ghe.example/api/v3/repos",
            "https://ghe.example:8443/api/v3/repos",
            "https://ghe.example/api/v3evil/repos",
            "https://ghe.example/other",
            "https://ghe.example/api/v3/../../other",
            "https://ghe.example/api/v3/%2e%2e/%2E%2e/other",
            "https://ghe.example@evil.example/api/v3/repos",
            "https://user:pass@ghe.example/api/v3/repos",
            "https://ghe.example.evil.example/api/v3/repos",
            "//ghe.example/api/v3/repos",
            "file:///api/v3/repos",
            "/api/v3/repos",
            "",
        ] {
            assert!(base.admit(address).is_err(), "{address}");
        }
    }

    #[test]
    fn the_prefix_of_an_enterprise_server_stays() {
        let base = Base::parse("http://ghe.example:8080/api/v3").unwrap();
        assert_eq!(
            base.join(&["repos", "a/b", "c d"], &[("since", "2026-01-01T00:00:00Z")]).as_str(),
            "http://ghe.example:8080/api/v3/repos/a%2Fb/c%20d?since=2026-01-01T00%3A00%3A00Z"
        );
        assert_eq!(base.graphql().as_str(), "http://ghe.example:8080/api/graphql");
        assert_eq!(Base::parse("https://api.github.com").unwrap().graphql().as_str(), "https://api.github.com/graphql");
    }

    #[test]
    fn settings_that_cannot_be_a_base_are_refused() {
        for address in ["", "api.github.com", "ftp://x/", "https://u:p@x/", "https://x/?a=1", "https://x/#a"] {
            assert_eq!(*Base::parse(address).unwrap_err().kind(), ErrorKind::Misconfigured, "{address}");
        }
    }
}
