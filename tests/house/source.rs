//! A Rust source file cut down to its code, so that rules can be checked with plain text searches.
//!
//! A full parser would be a dependency larger than the house. What the rules need is much less: comments and
//! literals must not be mistaken for code, braces must pair, and a test module at the end must be told from
//! the code above it. [`Source::read`] blanks every comment and every literal with spaces, byte for byte, so
//! offsets and line numbers in [`Source::code`] are those of the file.
//!
//! Invariant: `code` and `text` have the same length and the same line breaks.

use std::ops::Range;

/// One file, as written and as code alone.
pub(crate) struct Source {
    /// Path from the top of the project, with `/`.
    pub(crate) path: String,
    /// The file as it stands.
    pub(crate) text: String,
    /// The same bytes with comments and literals blanked.
    pub(crate) code: String,
}

/// A function: its name and the lines from `fn` to its last brace, counted from 1, both included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: Range<usize>,
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let code = blank(text);
        Source { path: path.to_string(), text: text.to_string(), code }
    }

    /// The line, counted from 1, that holds the byte at `offset`.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        1 + self.code.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Where the test module at the end begins (the file's length where there is none).
    pub(crate) fn tests_begin(&self) -> usize {
        let mut from = 0;
        while let Some(found) = self.code[from..].find("#[cfg(test)]") {
            let attribute = from + found;
            let rest = &self.code[attribute + "#[cfg(test)]".len()..];
            if let Some(open) = rest.find('{').filter(|&open| rest[..open].trim_start().starts_with("mod ")) {
                let close = matching_brace(rest, open).unwrap_or(rest.len());
                if rest.get(close + 1..).is_none_or(|tail| tail.trim().is_empty()) {
                    return attribute;
                }
            }
            from = attribute + 1;
        }
        self.code.len()
    }

    /// Offsets of `word` in the code where it stands as a whole word.
    pub(crate) fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        whole_words(&self.code, word)
    }

    /// All functions with a body in the code before `end`.
    pub(crate) fn functions(&self, end: usize) -> Vec<Function> {
        let code = &self.code[..end];
        whole_words(code, "fn")
            .filter_map(|at| {
                let rest = &code[at + 2..];
                let name: String = rest.trim_start().chars().take_while(|&c| is_word(c)).collect();
                let open = body_of(rest)?;
                let close = matching_brace(rest, open)?;
                let (first, last) = (self.line_of(at), self.line_of(at + 2 + close));
                (!name.is_empty()).then_some(Function { name, lines: first..last + 1 })
            })
            .collect()
    }

    /// How many of `lines` (counted from 1) bear code, and not only comments or nothing.
    pub(crate) fn code_lines(&self, lines: &Range<usize>) -> usize {
        let span = self.code.lines().zip(self.text.lines()).skip(lines.start - 1).take(lines.len());
        // A line inside a long literal is blank as code, but it is not a comment either.
        span.filter(|(code, text)| !code.trim().is_empty() || !is_comment_or_blank(text)).count()
    }

    /// Every path that begins at `root` (`crate`, or a crate's name): its offset and the name right behind it.
    /// Groups are opened: `crate::{ws::Role, http}` gives `ws` and `http`; `crate::*` gives `*`.
    pub(crate) fn paths_from(&self, root: &str) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for at in self.words(root) {
            if let Some(rest) = self.code[at + root.len()..].trim_start().strip_prefix("::") {
                paths.extend(heads(rest).into_iter().map(|head| (at, head)));
            }
        }
        paths
    }

    /// Paths that climb out of their room: `super::` repeated up to the root of the crate, then a name.
    pub(crate) fn climbs(&self) -> Vec<(usize, String)> {
        let depth = module_depth(&self.path);
        let mut climbs = Vec::new();
        // In the root itself `super` from an inline module is this very file.
        if depth == 0 {
            return climbs;
        }
        let mut from = 0;
        for at in self.words("super") {
            if at < from {
                continue;
            }
            let (mut rest, mut steps) = (&self.code[at..], 0);
            while let Some(next) = rest.strip_prefix("super").and_then(|r| r.trim_start().strip_prefix("::"))
            {
                (rest, steps) = (next.trim_start(), steps + 1);
            }
            from = self.code.len() - rest.len();
            if steps > 0 && steps >= depth + inline_modules_around(&self.code, at) {
                climbs.extend(heads(rest).into_iter().map(|head| (at, head)));
            }
        }
        climbs
    }
}

/// How many modules lie between the root of the crate and this file: `src/ws/mod.rs` 1, `src/ws/close.rs` 2.
fn module_depth(path: &str) -> usize {
    let parts = path.split('/').skip_while(|&part| part != "src").skip(1);
    parts.filter(|&part| !matches!(part, "mod.rs" | "lib.rs" | "main.rs")).count()
}

/// How many `mod name { … }` of this very file enclose the byte at `offset`.
fn inline_modules_around(code: &str, offset: usize) -> usize {
    let openings = whole_words(&code[..offset], "mod").filter_map(|at| {
        let open = at + code[at..].find(['{', ';'])?;
        (code.as_bytes()[open] == b'{').then_some(open)
    });
    openings.filter(|&open| matching_brace(code, open).is_none_or(|close| close > offset)).count()
}

/// The first names of what follows `root::`: one, or those of a `{…}` group, without their own groups.
fn heads(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        return Vec::from([first_name(rest)]);
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(first_name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_name(path: &str) -> String {
    let path = path.trim_start();
    if path.starts_with('*') {
        return "*".to_string();
    }
    path.strip_prefix("r#").unwrap_or(path).chars().take_while(|&c| is_word(c)).collect()
}

/// Where the body of a function opens, in what follows its `fn`; `None` for one that ends in `;`.
fn body_of(rest: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            // A `)` too many: this was a type, `Option<fn(u32)>` in an argument list.
            b')' | b']' if depth == 0 => return None,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' | b'}' | b'=' if depth == 0 && !rest[at..].starts_with("=>") => return None,
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`.
fn matching_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Offsets at which `word` stands in `text` with no word character on either side.
pub(crate) fn whole_words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_comment_or_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with("//") || line.starts_with("/*") || line.starts_with('*')
}

/// Blanks comments, strings and characters; keeps line breaks and the quotes' places as spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_len(text, at);
        if end == at {
            at += 1;
            continue;
        }
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    // Outside of literals a source may hold any identifier; inside, whole literals were blanked.
    String::from_utf8(code).expect("literals begin and end at character boundaries")
}

/// The length of the comment or literal that begins at `at`, 0 if none does.
fn literal_len(text: &str, at: usize) -> usize {
    let (bytes, rest) = (text.as_bytes(), &text.as_bytes()[at..]);
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => quoted_len(rest, b'"'),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_len(&rest[1..]).map_or(0, |len| len + 1),
        [b'r', b'"' | b'#', ..] if !after_word => raw_len(rest).unwrap_or(0),
        [b'\'', b'\\', ..] => quoted_len(rest, b'\''),
        // `'x'` is a character, `'x` a lifetime: a character closes right behind one code point.
        [b'\'', ..] => text[at + 1..].chars().next().map_or(0, |c| {
            let close = 1 + c.len_utf8();
            if c != '\'' && rest.get(close) == Some(&b'\'') { close + 1 } else { 0 }
        }),
        _ => 0,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_len(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `r"…"`, `r#"…"#`; `None` for a raw identifier such as `r#type`.
fn raw_len(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| 2 + hashes + end + close.len()))
}
