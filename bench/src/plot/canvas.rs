//! What all pictures share: paper, ink, sizes, and where title and origin stand.
//!
//! Why: pictures that look alike are read faster; and a page may be light or dark, so each brings its own paper.
//!
//! Invariants: nothing but paths, rectangles and text; no font is asked for but the reader's own.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) const WIDTH: u32 = 800;
/// Height of a line over that of its letters, as the drawing library has it.
const LINE: f64 = 1.24;
/// Around everything.
pub(super) const MARGIN: i32 = 20;
/// Below the title.
pub(super) const HEAD: i32 = 56;
/// Above the end: when and where, and by which command.
pub(super) const FOOT: i32 = 50;
/// Letters of a title, and of a line of the origin, that have room in the width.
const TITLE_MAX: usize = 88;
const ORIGIN_MAX: usize = 145;

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(super) const FAINT: RGBColor = RGBColor(0x6b, 0x72, 0x7b);
pub(super) const GRID: RGBColor = RGBColor(0xe4, 0xe7, 0xea);
/// What is measured, within its bar.
pub(super) const GOOD: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
/// What is beyond it.
pub(super) const BAD: RGBColor = RGBColor(0xd1, 0x6b, 0x3a);
/// What is measured of others.
pub(super) const OTHER: RGBColor = RGBColor(0xa9, 0xb1, 0xba);
/// The bar itself.
pub(super) const LIMIT: RGBColor = RGBColor(0xa3, 0x2a, 0x2a);

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on paper of this height, with a title above and the origin of the numbers below: when and where, and the command.
pub(super) fn on_paper(
    title: &str,
    origin: [&str; 2],
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, String> {
    for (text, most) in [(title, TITLE_MAX), (origin[0], ORIGIN_MAX), (origin[1], ORIGIN_MAX)] {
        let letters = text.chars().count();
        if letters > most {
            return Err(format!("`{text}` has {letters} letters, and there is room for {most}"));
        }
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&PAPER).map_err(told)?;
        let title_font = ("sans-serif", 16.0 * LINE).into_font().style(FontStyle::Bold);
        write(&area, title, (MARGIN, MARGIN), title_font.color(&INK), (HPos::Left, VPos::Top))?;
        for (line, up) in origin.into_iter().zip([28, 12]) {
            let at = (MARGIN, height as i32 - up);
            write(&area, line, at, font(11, &FAINT), (HPos::Left, VPos::Bottom))?;
        }
        draw(&area)?;
        area.present().map_err(told)?;
    }
    svg.push('\n');
    Ok(svg)
}

pub(super) type Drawn = Result<(), String>;

/// An error of the drawing library, in words.
pub(super) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Text whose letters are `pixels` high as a browser counts them; the library counts lines.
pub(super) fn font(pixels: u32, color: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", f64::from(pixels) * LINE).into_font().color(color)
}

pub(super) fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    style: TextStyle<'_>,
    (h, v): (HPos, VPos),
) -> Drawn {
    area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(h, v)))).map_err(told)
}

/// A dashed vertical or horizontal line.
pub(super) fn dashed(area: &Area<'_>, from: (i32, i32), to: (i32, i32)) -> Drawn {
    let line = plotters::element::DashedPathElement::new([from, to], 5, 4, LIMIT.stroke_width(1));
    area.draw(&line).map_err(told)
}

/// A number as people write it: thousands apart, and no more digits than it was measured with.
pub(super) fn number(value: f64) -> String {
    let text = format!("{}", (value * 1e6).round() / 1e6);
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(whole, rest)| (whole, Some(rest)));
    let mut apart = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && whole.len() > 4 {
            apart.push(' ');
        }
        apart.push(digit);
    }
    fraction.map_or(apart.clone(), |fraction| format!("{apart}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_without_room_is_refused() {
        let drawn = on_paper(&"long ".repeat(20), ["", ""], 100, |_| Ok(()));
        assert!(drawn.is_err_and(|why| why.contains("has 100 letters, and there is room for 88")));
    }

    #[test]
    fn numbers_are_as_measured() {
        let all = [0.675, 6192.0, 18_000.0, 1_000_000.0, 38.85].map(number);
        assert_eq!(all, ["0.675", "6192", "18 000", "1 000 000", "38.85"]);
    }
}
