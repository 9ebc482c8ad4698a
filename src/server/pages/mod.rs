//! The pages that the server brings along: a table in memory from path to bytes.
//!
//! Nothing is read from disk, so a path cannot escape from anywhere and a binary is all there is to deploy.
//!
//! Invariants: the pages use no external asset and no inline script or style, so that they work offline and
//! under [`CONTENT_SECURITY_POLICY`]; what peers said becomes text, never markup. The tutorials' pages, at
//! `/examples/`, are one file each, to be copied and opened as files: their scripts are inline, and they have a policy of their own
//! that says so.

use crate::http::{Response, Status};

/// One answer: what it is and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub bytes: &'a [u8],
    /// The value of `Content-Security-Policy`.
    pub policy: &'static str,
}

impl Page<'_> {
    /// The whole response.
    #[must_use]
    pub fn response(&self) -> Response<'_> {
        let response = Response::new(Status::OK).body(self.content_type, self.bytes);
        let response = response.header("Content-Security-Policy", self.policy);
        HEADERS.into_iter().fold(response, |response, (name, value)| response.header(name, value))
    }
}

/// Allows a page its own files and sockets, and nothing else. `ws:` and `wss:` are named since not every
/// browser counts a WebSocket to the same host as `'self'`.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same for a page that has its script and style in itself. Nothing of a request or a peer is ever in such a page.
pub const INLINE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The fields that go with every page. A page is asked for again each time, since it is as old as the binary.
pub const HEADERS: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

/// The page at a path (without query), if there is one. All chat rooms share one page.
#[must_use]
pub fn find(path: &str) -> Option<Page<'static>> {
    let path = match path.strip_prefix("/chat/") {
        Some(room) if !room.is_empty() && !room.contains('/') => "/chat",
        Some(_) | None => path,
    };
    TABLE.iter().chain(&EXAMPLES).find(|(known, _)| *known == path).map(|(_, page)| *page)
}

/// Every path and its page.
const TABLE: [(&str, Page<'static>); 12] = [
    ("/", html(include_bytes!("index.html"))),
    ("/chat", html(include_bytes!("chat.html"))),
    ("/echo", html(include_bytes!("echo.html"))),
    ("/socketio", html(include_bytes!("socketio.html"))),
    ("/assets/style.css", page("text/css; charset=utf-8", include_bytes!("style.css"))),
    ("/assets/icon.svg", page("image/svg+xml", include_bytes!("icon.svg"))),
    ("/assets/connect.js", script(include_bytes!("connect.js"))),
    ("/assets/charts.js", script(include_bytes!("charts.js"))),
    ("/assets/index.js", script(include_bytes!("index.js"))),
    ("/assets/chat.js", script(include_bytes!("chat.js"))),
    ("/assets/echo.js", script(include_bytes!("echo.js"))),
    ("/assets/socketio.js", script(include_bytes!("socketio.js"))),
];

/// The tutorials' pages, as they stand in `docs/examples/pages/`.
const EXAMPLES: [(&str, Page<'static>); 3] = [
    ("/examples/echo.html", example(include_bytes!("../../../docs/examples/pages/echo.html"))),
    ("/examples/chat.html", example(include_bytes!("../../../docs/examples/pages/chat.html"))),
    ("/examples/demo.html", example(include_bytes!("../../../docs/examples/pages/demo.html"))),
];

const fn page<'a>(content_type: &'static str, bytes: &'a [u8]) -> Page<'a> {
    Page { content_type, bytes, policy: CONTENT_SECURITY_POLICY }
}

const fn html(bytes: &'static [u8]) -> Page<'static> {
    page("text/html; charset=utf-8", bytes)
}

/// A script under the policy of our own pages.
#[must_use]
pub const fn script(bytes: &[u8]) -> Page<'_> {
    page("text/javascript; charset=utf-8", bytes)
}

const fn example(bytes: &'static [u8]) -> Page<'static> {
    Page { policy: INLINE_POLICY, ..html(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths, types and texts of all pages whose type begins so.
    fn texts(of: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
        TABLE
            .iter()
            .filter(move |(_, page)| page.content_type.starts_with(of))
            .map(|(path, page)| (*path, std::str::from_utf8(page.bytes).unwrap()))
    }

    /// The values of an attribute in a page.
    fn values<'t>(text: &'t str, attribute: &str) -> Vec<&'t str> {
        let opening = format!(" {attribute}=\"");
        text.split(opening.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn paths() {
        assert_eq!(find("/chat/hall"), find("/chat"));
        assert!(find("/").is_some() && find("/echo").is_some() && find("/chat").is_some());
        for path in [
            "",
            "/chat/",
            "/chat/a/b",
            "/chat/../mod.rs",
            "/assets/",
            "/assets/../mod.rs",
            "/ECHO",
            "/mod.rs",
            "/examples/",
            "/examples/README.md",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn only_a_tutorials_page_may_have_its_script_in_itself() {
        for (path, page) in TABLE.iter().chain(&EXAMPLES) {
            let is_example = path.starts_with("/examples/");
            let policy = if is_example { INLINE_POLICY } else { CONTENT_SECURITY_POLICY };
            assert_eq!(page.policy, policy, "{path}");
            let text = std::str::from_utf8(page.bytes).unwrap();
            let scripts = text.matches("<script>").count();
            assert_eq!(scripts, usize::from(is_example), "{path}");
            for way in ["src=", "href=", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!is_example || !text.contains(way), "{path} contains {way}");
            }
        }
    }

    #[test]
    fn no_page_names_an_external_asset() {
        for (path, text) in texts("text/") {
            for scheme in ["http:", "https:", "\"//", "'//", "(//", "@import", "url("] {
                assert!(!text.contains(scheme), "{path} contains {scheme}");
            }
        }
    }

    #[test]
    fn what_a_page_links_to_exists() {
        let served_elsewhere = ["/healthz", "/stats", "/metrics", "/channels"];
        for (path, text) in texts("text/html") {
            for target in values(text, "href").into_iter().chain(values(text, "src")) {
                assert!(
                    find(target).is_some() || served_elsewhere.contains(&target),
                    "{path} links to {target}"
                );
            }
        }
    }

    #[test]
    fn no_page_has_an_inline_script_or_style() {
        for (path, text) in texts("text/html") {
            let scripts = text.matches("<script").count();
            assert_eq!(scripts, text.matches("\"></script>").count(), "{path}: every script is empty");
            assert_eq!(scripts, values(text, "src").len(), "{path}: every script names its file");
            for inline in ["<style", " style=", " onclick=", " onload=", " onsubmit=", "javascript:"] {
                assert!(!text.contains(inline), "{path} contains {inline}");
            }
        }
    }

    #[test]
    fn no_script_makes_markup_of_text() {
        for (path, text) in texts("text/javascript") {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", ".style"] {
                assert!(!text.contains(way), "{path} contains {way}");
            }
        }
    }

    #[test]
    fn every_input_has_a_label() {
        for (path, text) in texts("text/html") {
            let labels = values(text, "for");
            let inputs = text.split("<input ").skip(1).map(|rest| rest.split('"').nth(1).unwrap());
            for id in inputs {
                assert!(labels.contains(&id), "{path}: the input {id} has no label");
            }
        }
    }
}
