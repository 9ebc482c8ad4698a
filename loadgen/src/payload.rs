//! Payloads: a filling made once, a marker written over it for each message.
//!
//! Why: what a publisher does between "due" and "written" is send lag; drawing random bytes there would be measured
//! as the server's latency. So the longest payload is drawn before the run, and a message is its first bytes.
//!
//! Invariants: a payload has exactly the size drawn; text payloads are ASCII; JSON payloads are JSON.

use crate::plan::{Fill, JSON_FRAME_BYTES, Plan, Size};
use stentor::base::marker::{MARKER_TEXT_BYTES, Marker};

const JSON_HEAD: &[u8] = b"{\"m\":\"";
const JSON_MIDDLE: &[u8] = b"\",\"fill\":\"";
const JSON_TAIL: &[u8] = b"\"}";
const WORDS: &str =
    "the herald at the ships called out as loud as fifty other men and all of them could hear him ";

/// Makes the payloads of one loop.
#[derive(Debug)]
pub struct Payloads {
    /// The longest payload; its front is rewritten for every message.
    template: Vec<u8>,
    size: Size,
    form: Form,
    rng: fastrand::Rng,
}

/// Where the marker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    Text,
    Json,
}

impl Payloads {
    /// Draws the filling; `salt` makes the loops of one run differ.
    pub fn new(plan: &Plan, salt: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ salt.rotate_left(32));
        let form = match (plan.fill, plan.text) {
            (Fill::Json, _) => Form::Json,
            (Fill::Random | Fill::Text | Fill::Zero, true) => Form::Text,
            (Fill::Random | Fill::Text | Fill::Zero, false) => Form::Binary,
        };
        let len = plan.size.max() as usize;
        let mut template = match (plan.fill, form) {
            (Fill::Zero, _) => vec![0; len],
            (Fill::Text, _) => WORDS.bytes().cycle().take(len).collect(),
            (Fill::Random | Fill::Json, Form::Text | Form::Json) => {
                (0..len).map(|_| rng.alphanumeric() as u8).collect()
            }
            (Fill::Random | Fill::Json, Form::Binary) => (0..len).map(|_| rng.u8(..)).collect(),
        };
        if form == Form::Json && len >= MARKER_TEXT_BYTES + JSON_FRAME_BYTES {
            template[..JSON_HEAD.len()].copy_from_slice(JSON_HEAD);
            let at = JSON_HEAD.len() + MARKER_TEXT_BYTES;
            template[at..at + JSON_MIDDLE.len()].copy_from_slice(JSON_MIDDLE);
        }
        Self { template, size: plan.size, form, rng }
    }

    /// The next payload, bearing `marker`, and whether it is valid until the next call.
    pub fn next(&mut self, marker: &Marker) -> &[u8] {
        let len = self.size.draw(&mut self.rng);
        match self.form {
            Form::Binary => marker.encode(&mut self.template[..len]),
            Form::Text => marker.encode_text(&mut self.template[..len]),
            Form::Json => {
                marker.encode_text(&mut self.template[JSON_HEAD.len()..len]);
                // The tail of a short payload lies in the filling of a longer one: put that back afterwards.
                return self.with_tail(len);
            }
        }
        &self.template[..len]
    }

    /// Ends a JSON payload of `len` bytes; letters that an earlier, shorter one overwrote are put back first.
    fn with_tail(&mut self, len: usize) -> &[u8] {
        let body = JSON_HEAD.len() + MARKER_TEXT_BYTES + JSON_MIDDLE.len();
        for byte in &mut self.template[body..len] {
            if matches!(*byte, b'"' | b'}') {
                *byte = b'x';
            }
        }
        self.template[len - JSON_TAIL.len()..len].copy_from_slice(JSON_TAIL);
        &self.template[..len]
    }

    /// Draws a masking key: fresh for every frame (RFC 6455 §5.3).
    pub fn mask_key(&mut self) -> [u8; 4] {
        self.rng.u32(..).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use proptest::prelude::*;
    use stentor::base::marker::{Found, decode};

    fn payloads(flags: &str) -> Payloads {
        let words = ["loadgen", "--seed", "7"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(words).expect("known flags");
        Payloads::new(&Plan::new(&cli.run).expect("valid"), 1)
    }

    proptest! {
        #[test]
        fn every_payload_bears_its_marker(sequence: u32, sizes in 70u64..300, fill in 0usize..4, text: bool) {
            let fill = ["random", "text", "json", "zero"][fill];
            let text = text && fill != "zero";
            let flags = format!("--size uniform:66..{sizes} --fill {fill} {}", if text { "--text" } else { "" });
            let mut payloads = payloads(&flags);
            for step in 0..20 {
                let marker = Marker { sequence: sequence.wrapping_add(step), run: 5, ..Marker::default() };
                let payload = payloads.next(&marker);
                prop_assert!((66..=sizes as usize).contains(&payload.len()));
                prop_assert_eq!(decode(payload), Found::Marker(marker));
                if text { prop_assert!(payload.is_ascii()); }
                if fill == "json" {
                    let value: Result<serde_json::Value, _> = serde_json::from_slice(payload);
                    prop_assert!(value.is_ok_and(|value| value.get("fill").is_some()));
                }
            }
        }
    }
}
