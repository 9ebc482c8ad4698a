//! The pictures of the studies: each drawn by a command from data that commands have printed.
//!
//! Why: a curve says in a second what a table says in a minute, and a picture made by hand drifts away from its numbers. So the
//! numbers lie in `docs/studies/data/`, the picture beside the study, and a test draws it again and compares the bytes.
//!
//! Invariants: the same data gives the same bytes; a number stands in the data or follows from it, never in the code; what a
//! picture says in words (title, units, bars, command, date) comes from its data too.

mod bars;
mod canvas;
mod million;

use std::fs;
use std::io;
use std::path::Path;

/// A picture: its name, and how it is drawn from the directory of the data.
struct Picture {
    name: &'static str,
    draw: fn(&Path, &str) -> Result<String, String>,
}

const PICTURES: [Picture; 6] = [
    Picture { name: "connections", draw: bars::draw },
    Picture { name: "memory", draw: million::memory },
    Picture { name: "million", draw: million::coming },
    Picture { name: "storm", draw: bars::draw },
    Picture { name: "slow", draw: bars::draw },
    Picture { name: "heartbeats", draw: bars::draw },
];

/// The names of all pictures.
pub fn names() -> impl Iterator<Item = &'static str> {
    PICTURES.iter().map(|picture| picture.name)
}

/// Draws the picture `name` from the data under `studies`; returns the SVG.
///
/// # Errors
/// There is no such picture, or its data cannot be read.
pub fn draw(studies: &Path, name: &str) -> io::Result<String> {
    let Some(picture) = PICTURES.iter().find(|picture| picture.name == name) else {
        let known: Vec<_> = names().collect();
        let wrong = format!("`{name}` is no picture; there are {}", known.join(", "));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
    };
    let drawn = (picture.draw)(&studies.join("data"), name);
    drawn.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {why}")))
}

/// Draws the pictures `only`, or all, into the directory of the studies; says what it has written.
///
/// # Errors
/// As [`draw`], and when a file cannot be written.
pub fn write(studies: &Path, only: &[String]) -> io::Result<()> {
    let wanted: Vec<&str> =
        if only.is_empty() { names().collect() } else { only.iter().map(String::as_str).collect() };
    for name in wanted {
        let path = studies.join(format!("{name}.svg"));
        fs::write(&path, draw(studies, name)?)?;
        eprintln!("bench: wrote {}", path.display());
    }
    Ok(())
}

/// Reads a file of data and parses it.
fn read<T: serde::de::DeserializeOwned>(data: &Path, file: &str) -> Result<T, String> {
    serde_json::from_str(&text(data, file)?).map_err(|error| format!("{file}: {error}"))
}

fn text(data: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(data.join(file)).map_err(|error| format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn studies() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/studies")
    }

    #[test]
    fn every_picture_of_the_studies_is_what_its_data_gives() {
        for name in names() {
            let drawn = draw(&studies(), name).unwrap_or_else(|why| panic!("{why}"));
            let kept = fs::read_to_string(studies().join(format!("{name}.svg"))).expect("it is kept");
            assert!(drawn == kept, "{name}.svg is old: cargo run --release -p bench -- plot {name}");
        }
    }

    #[test]
    fn every_picture_is_shown_in_a_study_with_words_for_who_cannot_see_it() {
        let pages: String = fs::read_dir(studies())
            .expect("the studies")
            .filter_map(|entry| {
                Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|end| end == "md"))
            })
            .map(|path| fs::read_to_string(path).expect("text"))
            .collect();
        for name in names() {
            let shown = pages.lines().find(|line| line.ends_with(&format!("]({name}.svg)")));
            let alt = shown
                .and_then(|line| line.strip_prefix("!["))
                .unwrap_or_else(|| panic!("{name}.svg is nowhere"));
            assert!(alt.len() > 60, "{name}: `{alt}` does not say what is to be seen");
            assert!(pages.contains(&format!("bench -- plot {name}")), "{name}: the command is missing");
        }
    }

    #[test]
    fn what_is_no_picture_or_no_data_is_told() {
        let unknown = draw(&studies(), "moon").expect_err("no such picture").to_string();
        assert!(unknown.contains("`moon` is no picture; there are connections, memory"), "{unknown}");
        let missing = draw(Path::new("/nowhere"), "storm").expect_err("no data").to_string();
        assert!(missing.starts_with("storm: storm.json: "), "{missing}");
    }
}
