//! Batches of publications: lines of JSON, judged as a whole, and the memory of which have been published already.
//!
//! A publisher that got no answer does not know whether it was heard. It gives each message an `id`, sends the batch again, and
//! what is known by its id is not published twice. Ids are remembered for a while and in a number that is bounded; who waits longer
//! than that before it tries again may be heard twice.
//!
//! Invariants: nothing of a batch is published before all of it is known to be good; an error names the line and quotes nothing
//! of it.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use serde_json::Value;

use super::limits::{BATCH_LINES_MAX, ID_BYTES_MAX, ID_TIME, IDS_MAX};
use crate::base::tick::Nanos;
use crate::http::Status;

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) channel: String,
    /// What is published, as text.
    pub(super) text: String,
    pub(super) id: Option<String>,
}

/// Why a batch is refused: status, metric label, one line of text.
pub(super) type Wrong = (Status, &'static str, String);

/// Reads a batch. `channel` is that of the lines that name none; a message may have `message_max` bytes.
pub(super) fn read(body: &[u8], channel: Option<&str>, message_max: u64) -> Result<Vec<Line>, Wrong> {
    let wrong = |why: String| (Status::BAD_REQUEST, "batch_malformed", why);
    let body = std::str::from_utf8(body).map_err(|_| wrong("the batch is not UTF-8".to_owned()))?;
    let mut lines = Vec::new();
    for (at, line) in body.split('\n').enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() {
            continue;
        }
        if lines.len() == BATCH_LINES_MAX {
            let why = format!("a batch has at most {BATCH_LINES_MAX} lines: send the rest as another one");
            return Err((Status::CONTENT_TOO_LARGE, "batch_too_long", why));
        }
        let read = read_line(line, channel).map_err(|why| wrong(format!("line {at}: {why}")))?;
        if read.text.len() as u64 > message_max {
            let why = format!("line {at}: a message has at most {message_max} bytes (--message-max)");
            return Err((Status::CONTENT_TOO_LARGE, "message_too_large", why));
        }
        lines.push(read);
    }
    if lines.is_empty() {
        return Err(wrong(r#"no message: a line is {"channel":"NAME","data":"TEXT","id":"ID"}"#.to_owned()));
    }
    Ok(lines)
}

fn read_line(line: &str, channel: Option<&str>) -> Result<Line, String> {
    let value: Value = serde_json::from_str(line)
        .map_err(|error| format!("not JSON (column {}); a line is one object", error.column()))?;
    let Value::Object(mut fields) = value else {
        return Err("not an object: a line is {\"channel\":…,\"data\":…,\"id\":…}".to_owned());
    };
    let mut text_of = |name: &str| match fields.shift_remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(format!("`{name}` is a string"))
        }
    };
    let (named, id) = (text_of("channel")?, text_of("id")?);
    if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > ID_BYTES_MAX) {
        return Err(format!("`id` has 1 to {ID_BYTES_MAX} bytes"));
    }
    let channel = named.or_else(|| channel.map(str::to_owned));
    let channel = channel.ok_or("no `channel`, in the line or in the path: /publish/CHANNEL")?;
    let text = match fields.shift_remove("data") {
        None => return Err("no `data`".to_owned()),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    if fields.is_empty() {
        Ok(Line { channel, text, id })
    } else {
        Err("a line has `channel`, `data` and `id`, and nothing else".to_owned())
    }
}

/// The ids of what was published lately.
#[derive(Debug, Default)]
pub struct Ids {
    order: VecDeque<(Nanos, Rc<str>)>,
    known: HashSet<Rc<str>>,
    /// Messages that were not published because their id was known.
    pub duplicates: u64,
    /// Ids forgotten before their time, because newer ones took their places.
    pub forgotten: u64,
}

impl Ids {
    /// Whether a message with this id has not been published in `channel` lately; from now on it has.
    pub(super) fn is_new(&mut self, channel: &str, id: &str, now: Nanos) -> bool {
        while self.order.front().is_some_and(|(at, _)| at + ID_TIME <= now) {
            self.forget_oldest();
        }
        // No channel has a control character in its name.
        let key: Rc<str> = format!("{channel}\0{id}").into();
        if self.known.contains(&key) {
            self.duplicates += 1;
            return false;
        }
        if self.order.len() == IDS_MAX {
            self.forgotten += 1;
            self.forget_oldest();
        }
        self.order.push_back((now, Rc::clone(&key)));
        self.known.insert(key);
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(channel: &str, text: &str, id: Option<&str>) -> Line {
        Line { channel: channel.into(), text: text.into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn a_line_names_its_channel_or_has_that_of_the_path() {
        let body = b"{\"data\":\"a\"}\r\n\n  {\"channel\":\"sky\",\"data\":{\"b\" : [1, null]},\"id\":\"7\"}\n{\"data\":null}";
        assert_eq!(
            read(body, Some("sea"), 99),
            Ok(vec![
                line("sea", "a", None),
                line("sky", "{\"b\":[1,null]}", Some("7")),
                line("sea", "null", None)
            ])
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let long = format!("{{\"data\":1,\"id\":\"{}\"}}", "x".repeat(ID_BYTES_MAX + 1));
        let deep = format!("{{\"data\":{}", "[".repeat(100_000));
        for (body, status, says) in [
            ("", 400, "no message"),
            (" \n\r\n", 400, "no message"),
            ("{\"data\":1}\n{", 400, "line 2: not JSON"),
            ("[]", 400, "line 1: not an object"),
            ("{}", 400, "no `data`"),
            ("{\"data\":1,\"channel\":5}", 400, "`channel` is a string"),
            ("{\"data\":1,\"id\":\"\"}", 400, "`id` has 1 to 128 bytes"),
            ("{\"data\":1,\"datum\":2}", 400, "nothing else"),
            ("{\"data\":\"0123456789\"}", 413, "line 1: a message has at most 9 bytes"),
            (long.as_str(), 400, "`id` has"),
            (deep.as_str(), 400, "line 1: not JSON"),
        ] {
            let (found, _, why) = read(body.as_bytes(), Some("sea"), 9).unwrap_err();
            assert!(found.code() == status && why.contains(says), "{body:.40}: {found} {why}");
        }
        assert!(read(b"{\"data\":1}", None, 9).unwrap_err().2.contains("no `channel`"));
        assert!(read(b"\xff", None, 9).unwrap_err().2.contains("UTF-8"));
        let many = "{\"data\":1}\n".repeat(BATCH_LINES_MAX + 1);
        assert_eq!(read(many.as_bytes(), Some("sea"), 9).unwrap_err().0, Status::CONTENT_TOO_LARGE);
    }

    #[test]
    fn an_id_is_known_for_a_while_in_its_channel_and_not_for_ever() {
        let mut ids = Ids::default();
        assert!(ids.is_new("sea", "1", 0));
        assert!(!ids.is_new("sea", "1", ID_TIME - 1));
        assert!(ids.is_new("sky", "1", 0));
        assert!(ids.is_new("sea", "1", ID_TIME), "its time is over");
        assert_eq!((ids.duplicates, ids.forgotten), (1, 0));
        (0..IDS_MAX).for_each(|n| assert!(ids.is_new("many", &n.to_string(), ID_TIME)));
        assert_eq!((ids.order.len(), ids.known.len(), ids.forgotten), (IDS_MAX, IDS_MAX, 1));
    }

    proptest! {
        #[test]
        fn anything_can_be_sent(body in prop_oneof![any::<Vec<u8>>(), "[\\[{\"a-z0-9:,\n}\\]]{0,60}".prop_map(String::into_bytes)]) {
            if let Err((_, _, why)) = read(&body, Some("sea"), 9) {
                prop_assert!(!why.contains('\n'));
            }
        }
    }
}
