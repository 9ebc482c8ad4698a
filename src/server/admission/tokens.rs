//! The tokens that open the door, and how one is compared with them.
//!
//! Comparing must not tell by its time how much of a guess was right. So what is compared are digests of equal length,
//! in constant time, and always all of them.
//!
//! Invariants: after the start only digests are kept; where tokens are asked for and none is known, nobody comes in.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::http::token::{is_well_formed, presented};
use crate::http::{Barred, Request};

/// What a token must look like.
pub(super) const WANTED: &str = "letters, digits and -._~+/, perhaps with = at its end";

/// The longest file of tokens, in bytes: it is read in one turn.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A token as an operator gave it. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn is_well_formed(&self) -> bool {
        is_well_formed(&self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

type Digest = [u8; 32];

/// The tokens that are known.
pub(super) struct Tokens {
    given: Vec<Digest>,
    from_file: Vec<Digest>,
    file: Option<PathBuf>,
}

impl Tokens {
    /// Those given, and room for those of `file`; `None` if nobody is to be asked for a token.
    pub(super) fn new(given: &[Secret], file: Option<PathBuf>) -> Option<Self> {
        let given: Vec<Digest> = given.iter().map(|secret| digest(secret.0.as_bytes())).collect();
        (!given.is_empty() || file.is_some()).then(|| Self { given, from_file: Vec::new(), file })
    }

    /// Whether `request` brings one of the tokens.
    pub(super) fn judge(&self, request: &Request<'_, '_>) -> Result<(), Barred> {
        let token = presented(request)?.ok_or(Barred::TokenMissing)?;
        if self.knows(&token) { Ok(()) } else { Err(Barred::TokenWrong) }
    }

    fn knows(&self, token: &[u8]) -> bool {
        let digest = digest(token);
        let all = self.given.iter().chain(&self.from_file);
        all.fold(Choice::from(0), |found, known| found | known.ct_eq(&digest)).into()
    }

    /// Reads the file, if there is one, and says how many tokens it holds.
    pub(super) fn read_file(&mut self) -> Result<Option<usize>, String> {
        let Some(path) = &self.file else { return Ok(None) };
        self.from_file = read(path).map_err(|why| format!("--token-file {}: {why}", path.display()))?;
        Ok(Some(self.from_file.len()))
    }
}

fn digest(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

/// One token a line; empty lines and those that begin with `#` are left out.
fn read(path: &Path) -> Result<Vec<Digest>, String> {
    let told = |error: std::io::Error| error.to_string();
    let file = crate::net::file::open(path).map_err(told)?;
    let about = file.metadata().map_err(told)?;
    if about.permissions().mode() & 0o004 != 0 {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the file of tokens");
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {FILE_BYTES_MAX} bytes"));
    }
    let lines = text.lines().map(str::trim).enumerate();
    let tokens = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let digests = tokens.map(|(n, token)| match is_well_formed(token) {
        true => Ok(digest(token.as_bytes())),
        false => Err(format!("line {} is not a token: {WANTED}", n + 1)),
    });
    let digests: Vec<Digest> = digests.collect::<Result<_, _>>()?;
    if digests.is_empty() { Err("it holds no token: one a line".to_owned()) } else { Ok(digests) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_whole_or_not_at_all() {
        let tokens = Tokens::new(&["abc".into(), "def==".into()], None).unwrap();
        assert!(tokens.knows(b"abc") && tokens.knows(b"def=="));
        for wrong in [&b""[..], b"ab", b"abcd", b"ABC", b"def", b"abc\0", b"\xff"] {
            assert!(!tokens.knows(wrong), "{wrong:?}");
        }
        assert!(Tokens::new(&[], None).is_none());
        assert!(!Tokens::new(&[], Some("x".into())).unwrap().knows(b""));
    }

    #[test]
    fn a_file_of_tokens_is_read_again_and_a_bad_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("stentor-tokens-{}", std::process::id()));
        let mut tokens = Tokens::new(&["given".into()], Some(path.clone())).unwrap();
        assert!(tokens.read_file().unwrap_err().contains("--token-file"));
        std::fs::write(&path, "# the first\r\n\n  one \nTwo=\n").unwrap();
        assert_eq!(tokens.read_file(), Ok(Some(2)));
        assert!(tokens.knows(b"one") && tokens.knows(b"Two=") && tokens.knows(b"given"));
        for bad in ["three\nnot a token\n", "# nothing\n", &"x".repeat(FILE_BYTES_MAX as usize + 1)] {
            std::fs::write(&path, bad).unwrap();
            let error = tokens.read_file().unwrap_err();
            assert!(!error.contains("not a token\n") && !error.contains("three"), "{error}");
            assert!(tokens.knows(b"one") && !tokens.knows(b"three"));
        }
        std::fs::write(&path, "four").unwrap();
        assert_eq!(tokens.read_file(), Ok(Some(1)));
        assert!(tokens.knows(b"four") && !tokens.knows(b"one") && tokens.knows(b"given"));
        std::fs::remove_file(&path).unwrap();
    }
}
