//! Queries and path segments: what browsers read in a query, and names that are what they say.
//!
//! Input: the text. As a query it is compared with `form_urlencoded`, the WHATWG's own algorithm.

use std::fmt::Write as _;
use stentor::http::query;

/// Holds the law.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ours: Vec<_> = query::pairs(text).collect();
    let theirs: Vec<_> = form_urlencoded::parse(data).collect();
    assert_eq!(ours, theirs, "{text:?}");
    for (name, _) in &ours {
        let first = ours.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        assert_eq!(query::get(text, name), first);
    }
    // Written and read again it is the same query.
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(&ours).finish();
    assert_eq!(query::pairs(&written).collect::<Vec<_>>(), ours);

    if let Some(name) = query::decode_segment(text) {
        assert!(!name.contains(char::is_control), "{name:?}");
        assert!(name.len() <= text.len(), "decoding never grows");
        assert_eq!(query::decode_segment(&escaped(&name)).as_deref(), Some(&*name), "{text:?}");
        let plain = !text.contains('%');
        assert!(!plain || name == text);
    }
}

/// Every byte as an escape.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02x}").expect("a string takes everything");
        out
    })
}
