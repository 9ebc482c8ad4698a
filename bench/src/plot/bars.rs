//! Pictures of a few numbers against their bar: a row for each, a panel for each unit.
//!
//! Why so plain: what is to be seen is whether a number is on this or that side of a line, and how far.
//!
//! Invariants: rows begin at zero; one of ours beyond its panel's bar has another colour and the word for it.

use super::canvas::{Area, dashed, font, number, on_paper, told, write};
use super::canvas::{BAD, Drawn, FAINT, FOOT, GOOD, HEAD, INK, MARGIN, OTHER, WIDTH};
use super::read;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use serde::Deserialize;
use std::path::Path;

/// Where the rows begin: room for their names on the left.
const LEFT: i32 = 210;
/// Where the longest ends: room for its number on the right.
const RIGHT: i32 = WIDTH as i32 - MARGIN - 130;
const ROW: i32 = 26;
const PANEL_HEAD: i32 = 42;
const PANEL_FOOT: i32 = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    title: String,
    /// What printed the numbers.
    command: String,
    date: String,
    machine: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    what: String,
    unit: String,
    /// What the numbers may be at most.
    bar: f64,
    bar_is: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    value: f64,
    /// Of somebody else: the bar is not theirs.
    #[serde(default)]
    is_other: bool,
}

impl Row {
    fn misses(&self, panel: &Panel) -> bool {
        !self.is_other && self.value > panel.bar
    }

    fn color(&self, panel: &Panel) -> RGBColor {
        match (self.is_other, self.misses(panel)) {
            (true, _) => OTHER,
            (false, true) => BAD,
            (false, false) => GOOD,
        }
    }
}

impl Panel {
    const fn height(&self) -> i32 {
        PANEL_HEAD + self.rows.len() as i32 * ROW + PANEL_FOOT
    }
}

pub(super) fn draw(data: &Path, name: &str) -> Result<String, String> {
    let data: Data = read(data, &format!("{name}.json"))?;
    let height = HEAD + data.panels.iter().map(Panel::height).sum::<i32>() + FOOT;
    let origin = format!("{}, {}", data.date, data.machine);
    on_paper(&data.title, [&origin, &data.command], height as u32, |area| {
        let mut top = HEAD;
        for panel in &data.panels {
            draw_panel(area, panel, top)?;
            top += panel.height();
        }
        Ok(())
    })
}

fn draw_panel(area: &Area<'_>, panel: &Panel, top: i32) -> Drawn {
    let most = panel.rows.iter().map(|row| row.value).fold(panel.bar, f64::max);
    if !(most.is_finite() && most > 0.0) {
        return Err(format!("`{}` has nothing above zero", panel.what));
    }
    let at = |value: f64| LEFT + (value.max(0.0) / most * f64::from(RIGHT - LEFT)).round() as i32;
    let head = format!("{}, {}", panel.what, panel.unit);
    write(area, &head, (MARGIN, top), font(14, &INK), (HPos::Left, VPos::Top))?;
    let first = top + PANEL_HEAD;
    let bottom = first + panel.rows.len() as i32 * ROW;
    for (row, nth) in panel.rows.iter().zip(0..) {
        let middle = first + nth * ROW + ROW / 2;
        let (from, to) = ((LEFT, middle - 8), (at(row.value), middle + 8));
        area.draw(&Rectangle::new([from, to], row.color(panel).filled())).map_err(told)?;
        write(area, &row.name, (LEFT - 10, middle), font(13, &INK), (HPos::Right, VPos::Center))?;
        // Behind the bar's own line, where a row ends close before it.
        let close = (at(panel.bar) - at(row.value)).abs() < 60 && row.value <= panel.bar;
        let text_x = if close { at(panel.bar) } else { at(row.value) } + 7;
        let text = number(row.value) + if row.misses(panel) { ", missed" } else { "" };
        write(area, &text, (text_x, middle), font(13, &INK), (HPos::Left, VPos::Center))?;
    }
    let bar_x = at(panel.bar);
    dashed(area, (bar_x, first - 4), (bar_x, bottom + 2))?;
    write(area, &panel.bar_is, (bar_x + 4, first - 6), font(11, &FAINT), (HPos::Left, VPos::Bottom))?;
    let axis = PathElement::new([(LEFT, first - 4), (LEFT, bottom + 2)], FAINT.stroke_width(1));
    area.draw(&axis).map_err(told)
}
