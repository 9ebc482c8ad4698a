//! Small line plots as inline SVG, drawn by hand: axes, a few curves, a legend.
//!
//! Why: the HTML report is one file that opens anywhere, offline and in ten years; a plotting library for three
//! curves would outweigh it.
//!
//! Invariants: no external reference, no script; every number in the output is finite; an empty plot says so.

use std::fmt::Write;

/// Size of a plot, in SVG units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// Margins: room for the labels of the axes, and for the legend above.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 28.0;

/// One curve: its name, its class (`c0` … `c3`, coloured by the page) and its points.
pub(super) struct Curve<'a> {
    /// Name in the legend.
    pub(super) name: &'a str,
    /// Points with x ascending; values that are not finite are left out.
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis: where its ticks stand and what they say.
pub(super) struct Axis {
    /// Range of values shown.
    range: (f64, f64),
    /// Logarithmic.
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from zero to a round number at or above `max`, with about five ticks.
    pub(super) fn linear(max: f64, label: impl Fn(f64) -> String) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let rough = max / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(max);
        let count = (max / step).ceil();
        let ticks = (0..=count as u32).map(|i| f64::from(i) * step).map(|v| (v, label(v))).collect();
        Self { range: (0.0, count * step), log: false, ticks }
    }

    /// A logarithmic axis over whole decades around `min..=max`, both above zero.
    pub(super) fn decades(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let (min, max) = (min.max(1.0), max.max(min.max(1.0)));
        let (low, mut high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        high = high.max(low + 1);
        let ticks = (low..=high).map(|power| 10_f64.powi(power)).map(|v| (v, label(v))).collect();
        Self { range: (10_f64.powi(low), 10_f64.powi(high)), log: true, ticks }
    }

    /// A linear axis with given ticks.
    pub(super) fn fixed(range: (f64, f64), ticks: Vec<(f64, String)>) -> Self {
        Self { range, log: false, ticks }
    }

    /// Where a value stands, 0..=1.
    fn place(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(self.range.0).log10() } else { v };
        let (low, high) = (scale(self.range.0), scale(self.range.1));
        ((scale(value) - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Draws one plot.
pub(super) fn plot(title: &str, x: &Axis, y: &Axis, curves: &[Curve<'_>]) -> String {
    let mut out = String::with_capacity(4_096);
    // Writing to a `String` cannot fail.
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><text class=\"t\" x=\"{LEFT}\" \
         y=\"14\">{title}</text>"
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * (right - LEFT);
    let at_y = |value: f64| bottom - y.place(value) * (bottom - TOP);
    for (value, label) in &y.ticks {
        let at = at_y(*value);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (value, label) in &x.ticks {
        let at = at_x(*value);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
            bottom + 16.0
        );
    }
    let mut drawn = false;
    for (index, curve) in curves.iter().enumerate() {
        let points: Vec<_> = curve.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        if points.is_empty() {
            continue;
        }
        drawn = true;
        let _ = write!(out, "<polyline class=\"c{index}\" points=\"");
        for (x, y) in points {
            let _ = write!(out, "{:.1},{:.1} ", at_x(*x), at_y(*y));
        }
        let legend_x = right - 90.0 * (curves.len() - index) as f64;
        let _ = write!(
            out,
            "\"/><path class=\"c{index}\" d=\"M{legend_x:.1} 10h16\"/><text x=\"{:.1}\" y=\"14\">{}</text>",
            legend_x + 20.0,
            curve.name
        );
    }
    if !drawn {
        let _ = write!(
            out,
            "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">nothing recorded</text>",
            WIDTH / 2.0,
            HEIGHT / 2.0
        );
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::linear(970.0, |v| v.to_string());
        assert_eq!(axis.range, (0.0, 1_000.0));
        assert_eq!(axis.ticks.len(), 6);
        let axis = Axis::decades(150_000.0, 42_000_000.0, |v| v.to_string());
        assert_eq!(axis.range, (1e5, 1e8));
        assert!((axis.place(1e6) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn odd_values_draw_nothing_odd() {
        let axis = Axis::linear(f64::NAN, |v| v.to_string());
        let curve = Curve { name: "a", points: vec![(f64::NAN, 1.0), (0.5, f64::INFINITY), (0.5, -3.0)] };
        let svg = plot("t", &axis, &axis, &[curve]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(plot("t", &axis, &axis, &[]).contains("nothing recorded"));
    }
}
