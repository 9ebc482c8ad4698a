//! Pictures of the million: what a peer takes in memory and in time, as their number grows.
//!
//! Why from samples: `bench/million.sh` writes a line a second while peers come, so every number of peers in between is
//! measured too, and a cost that grows would show as a curve that bends.
//!
//! Invariants: a sample's memory is compared with the first sample's of the same run; time is counted in the ticks of 10 ms
//! that `/proc/PID/stat` has.

use super::canvas::{Area, Drawn, FAINT, FOOT, GOOD, GRID, HEAD, INK, LIMIT, MARGIN, WIDTH};
use super::canvas::{dashed, font, number, on_paper, told, write};
use super::{read, text};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const HEIGHT: u32 = 396;
/// Microseconds in a tick of `/proc/PID/stat`.
const TICK_US: f64 = 10_000.0;
/// Fewer peers than this say more about the program than about a peer.
const PEERS_MIN: f64 = 5_000.0;
/// Peers that one point of time stands for: enough ticks for three digits.
const STEP: f64 = 25_000.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    command: String,
    date: String,
    machine: String,
    /// By picture.
    titles: BTreeMap<String, String>,
    memory_bar_bytes: f64,
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    name: String,
    samples: String,
}

/// A line of samples.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    peers: f64,
    ticks: f64,
    rss_kb: f64,
}

type Points = Vec<(f64, f64)>;

/// What is drawn in one frame.
struct Chart<'a> {
    what: &'a str,
    x_is: &'a str,
    x: (f64, f64),
    y_max: f64,
    /// Ticks of x, and their texts.
    x_ticks: Vec<(f64, String)>,
    y_step: f64,
    curves: Vec<(&'a str, Points)>,
    bar: Option<f64>,
}

/// Bytes of ours for each peer, by their number.
pub(super) fn memory(data: &Path, name: &str) -> Result<String, String> {
    let (data, runs) = load(data)?;
    let bytes_each = |samples: &[Sample]| -> Points {
        let before_kb = samples.first().map_or(0.0, |first| first.rss_kb);
        let of = |sample: &Sample| (sample.rss_kb - before_kb) * 1024.0 / sample.peers;
        comings(samples).filter(|s| s.peers >= PEERS_MIN).map(|s| (s.peers.log10(), of(&s))).collect()
    };
    let powers = [10_000.0, 100_000.0, 1_000_000.0];
    let chart = Chart {
        what: "resident memory of the server for each peer, bytes",
        x_is: "peers connected (logarithmic)",
        x: (PEERS_MIN.log10(), 6.02),
        y_max: data.memory_bar_bytes.max(1.0) * 1.1,
        x_ticks: powers.map(|peers: f64| (peers.log10(), number(peers))).into(),
        y_step: 100.0,
        curves: data.runs.iter().zip(&runs).map(|(run, samples)| (&*run.name, bytes_each(samples))).collect(),
        bar: Some(data.memory_bar_bytes),
    };
    picture(&data, name, |area| draw_chart(area, &chart, (MARGIN, WIDTH as i32 - MARGIN)))
}

/// How a million came, and what each of them cost in time.
pub(super) fn coming(data: &Path, name: &str) -> Result<String, String> {
    let (data, runs) = load(data)?;
    let samples = runs.last().ok_or("no run")?;
    let minutes = |sample: Sample| (sample.seconds / 60.0, sample.peers / 1e6);
    let last_minute = comings(samples).last().map_or(1.0, |sample| sample.seconds / 60.0);
    let cost = costs(samples);
    let dearest = cost.iter().map(|(_, us)| *us).fold(1.0, f64::max);
    let ticks =
        |step: f64, count: u32| (0..=count).map(|n| f64::from(n) * step).map(|x| (x, number(x))).collect();
    let left = Chart {
        what: "peers connected, millions",
        x_is: "minutes",
        x: (0.0, last_minute),
        y_max: 1.05,
        x_ticks: ticks(5.0, (last_minute / 5.0) as u32),
        y_step: 0.2,
        curves: vec![("", comings(samples).map(minutes).collect())],
        bar: None,
    };
    let right = Chart {
        what: "server's processor time to take in one, µs",
        x_is: "peers connected before, millions",
        x: (0.0, 1.0),
        y_max: (dearest * 1.1 / 100.0).ceil() * 100.0,
        x_ticks: ticks(0.2, 5),
        y_step: 100.0,
        curves: vec![("", cost)],
        bar: None,
    };
    let middle = WIDTH as i32 / 2;
    picture(&data, name, |area| {
        draw_chart(area, &left, (MARGIN, middle - MARGIN))?;
        draw_chart(area, &right, (middle + MARGIN / 2, WIDTH as i32 - MARGIN))
    })
}

/// What each peer cost, in steps of [`STEP`]: the peers before the step, in millions, and microseconds.
fn costs(samples: &[Sample]) -> Points {
    let mut points = Points::new();
    let mut from: Option<Sample> = None;
    for sample in comings(samples) {
        let Some(begun) = from else {
            from = Some(sample);
            continue;
        };
        let came = sample.peers - begun.peers;
        if came >= STEP {
            points.push((begun.peers / 1e6, (sample.ticks - begun.ticks) * TICK_US / came));
            from = Some(sample);
        }
    }
    points
}

/// The samples until the last peer had come.
fn comings(samples: &[Sample]) -> impl Iterator<Item = Sample> + '_ {
    let most = samples.iter().map(|sample| sample.peers).fold(0.0, f64::max);
    let full = samples.iter().position(|sample| sample.peers >= most).unwrap_or(0);
    samples[..=full.min(samples.len().saturating_sub(1))].iter().copied()
}

fn load(data: &Path) -> Result<(Data, Vec<Vec<Sample>>), String> {
    let described: Data = read(data, "million.json")?;
    let runs = described
        .runs
        .iter()
        .map(|run| parse(&text(data, &run.samples)?).map_err(|why| format!("{}: {why}", run.samples)));
    let runs = runs.collect::<Result<Vec<_>, String>>()?;
    Ok((described, runs))
}

/// Lines of `million_inside.sh`: seconds, connections, ticks, resident kB, and what is not drawn.
fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let line = |(nth, line): (usize, &str)| {
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok([seconds, peers, ticks, rss_kb, ..]) => {
                Ok(Sample { seconds: *seconds, peers: *peers, ticks: *ticks, rss_kb: *rss_kb })
            }
            _ => Err(format!("line {}: `{line}` is not seconds, connections, ticks, kB", nth + 1)),
        }
    };
    let samples: Vec<_> = text.lines().enumerate().map(line).collect::<Result<_, _>>()?;
    if samples.is_empty() { Err("it is empty".to_owned()) } else { Ok(samples) }
}

fn picture(data: &Data, name: &str, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, String> {
    let title = data.titles.get(name).ok_or_else(|| format!("million.json has no title for `{name}`"))?;
    let origin = format!("{}, {}", data.date, data.machine);
    on_paper(title, [&origin, &data.command], HEIGHT, draw)
}

/// Draws axes, curves and bar between two edges.
fn draw_chart(area: &Area<'_>, chart: &Chart<'_>, (left, right): (i32, i32)) -> Drawn {
    let (left, right) = (left + 44, right - 6);
    let (top, bottom) = (HEAD + 30, HEIGHT as i32 - FOOT - 46);
    let span =
        |value: f64, (low, high): (f64, f64), pixels: i32| (value - low) / (high - low) * f64::from(pixels);
    let at_x = |x: f64| left + span(x, chart.x, right - left).round() as i32;
    let at_y = |y: f64| bottom - span(y, (0.0, chart.y_max), bottom - top).round() as i32;
    write(area, chart.what, (left - 44, HEAD), font(14, &INK), (HPos::Left, VPos::Top))?;
    for nth in 0..=(chart.y_max / chart.y_step + 1e-9) as u32 {
        let y = f64::from(nth) * chart.y_step;
        let line = PathElement::new([(left, at_y(y)), (right, at_y(y))], GRID.stroke_width(1));
        area.draw(&line).map_err(told)?;
        write(area, &number(y), (left - 8, at_y(y)), font(12, &FAINT), (HPos::Right, VPos::Center))?;
    }
    for (x, text) in &chart.x_ticks {
        write(area, text, (at_x(*x), bottom + 8), font(12, &FAINT), (HPos::Center, VPos::Top))?;
        let tick = PathElement::new([(at_x(*x), bottom), (at_x(*x), bottom + 4)], FAINT.stroke_width(1));
        area.draw(&tick).map_err(told)?;
    }
    let middle = (left + right) / 2;
    write(area, chart.x_is, (middle, bottom + 28), font(12, &FAINT), (HPos::Center, VPos::Top))?;
    if let Some(bar) = chart.bar {
        dashed(area, (left, at_y(bar)), (right, at_y(bar)))?;
        let text = format!("bar: {}", number(bar));
        write(area, &text, (right, at_y(bar) - 4), font(12, &LIMIT), (HPos::Right, VPos::Bottom))?;
    }
    for ((name, points), nth) in chart.curves.iter().zip(0..) {
        let color = if nth + 1 == chart.curves.len() { GOOD } else { INK };
        let line: Vec<_> = points.iter().map(|(x, y)| (at_x(*x), at_y(*y))).collect();
        let Some(end) = line.last().copied() else { return Err(format!("`{}` has no points", chart.what)) };
        area.draw(&PathElement::new(line, color.stroke_width(2))).map_err(told)?;
        // Below the end of its curve, where nothing else is drawn.
        write(area, name, (end.0, end.1 + 14 + 2 * nth as i32), font(12, &color), (HPos::Right, VPos::Top))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_doubles_shows_as_one_that_doubles() {
        let sample = |peers: f64, ticks: f64| Sample { seconds: 0.0, peers, ticks, rss_kb: 0.0 };
        let samples =
            [sample(0.0, 0.0), sample(25_000.0, 500.0), sample(50_000.0, 1_500.0), sample(50_000.0, 9_000.0)];
        assert_eq!(costs(&samples), [(0.0, 200.0), (0.025, 400.0)], "what comes later is not the newcomers'");
    }

    #[test]
    fn a_line_that_is_none_is_told() {
        assert!(parse("1 2 3 4 5\n1 2 x 4\n").is_err_and(|why| why.starts_with("line 2: `1 2 x 4`")));
        assert!(parse("").is_err());
    }
}
