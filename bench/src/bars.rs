//! What stentor has to reach: each bar as a cell, something to compare with, and a factor.
//!
//! Bars are ratios within one run, because microseconds belong to a machine. Where a bar is drawn against
//! uWebSockets (C++), which does not install by name, its recorded ratio to the same floor stands in for it,
//! unless the run has a contestant called `uws` (`--with uws=COMMAND`).
//!
//! Invariants: a bar is judged only on numbers of the run at hand; what is missing is said, never guessed.

use serde::Serialize;

use crate::experiment::{Cell, Finding, Kind, Question};
use crate::table;

/// The contestant that is held against the bars.
pub const JUDGED: &str = "stentor";
/// The name under which uWebSockets may take part.
const UWS: &str = "uws";
/// npm's `socket.io`.
pub const SOCKET_IO: &str = "socket.io";

/// What a bar is drawn against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The floor with one send per message.
    FloorSend,
    /// The floor with one send per burst.
    FloorBatch,
    /// uWebSockets: measured here, or else this multiple of `floor-send`.
    Uws {
        /// Recorded on a two-core machine (kernel 6.18, loopback); absent where that does not carry over.
        of_floor: Option<f64>,
    },
    /// The same without compression, or without Socket.IO.
    Plain,
    /// npm's `socket.io`.
    SocketIo,
    /// Nothing: the factor is the bar itself.
    Nothing,
}

/// A bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    cell: Cell,
    against: Against,
    factor: f64,
}

/// A bar after a run.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Where.
    pub cell: Cell,
    /// The bar in words.
    pub bar: String,
    /// The most allowed, in the unit of the cell; absent if what it is drawn against was not measured.
    pub most: Option<f64>,
    /// What stentor did, in the unit of the cell; absent if it was not measured.
    pub measured: Option<f64>,
    /// How the two compare.
    pub outcome: Outcome,
}

/// How a bar was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// At or under the bar.
    Pass,
    /// Over it.
    Fail,
    /// One side has no number in this run.
    NotMeasured,
}

/// All bars, in the order of the questions.
pub fn all() -> Vec<Bar> {
    use Against::{FloorBatch, FloorSend, Nothing, Plain, SocketIo, Uws};
    let bar = |question: Question, clients, size_bytes, width, against, factor| Bar {
        cell: Cell { question, clients, size_bytes, width, kind: question.kind() },
        against,
        factor,
    };
    let fanout = |clients, width, against, factor| bar(Question::Fanout, clients, 64, width, against, factor);
    let echo =
        |clients, size, width, against, factor| bar(Question::Echo, clients, size, width, against, factor);
    let uws = |of_floor: f64| Uws { of_floor: Some(of_floor) };
    vec![
        fanout(1000, 1, FloorSend, 1.10),
        fanout(1000, 16, FloorBatch, 1.2),
        fanout(1000, 100, FloorBatch, 1.5),
        fanout(10_000, 1, FloorSend, 1.10),
        fanout(10_000, 1, uws(1.30), 0.90),
        fanout(10_000, 16, FloorBatch, 1.2),
        fanout(10_000, 100, FloorBatch, 1.5),
        fanout(18_000, 1, FloorSend, 1.10),
        fanout(18_000, 1, uws(1.24), 0.90),
        fanout(18_000, 100, FloorBatch, 1.5),
        echo(100, 64, 1, uws(3.49 / 3.39), 1.05),
        echo(10_000, 64, 1, uws(6.40 / 5.99), 1.05),
        // Recorded below the floor, in an exchange that fell in and out of step: no ratio to go by. Ours is
        // as for fan-out in bursts of 16.
        echo(100, 64, 16, Uws { of_floor: None }, 1.05),
        echo(100, 64, 16, FloorSend, 1.2),
        echo(10, 16 << 10, 1, uws(6.06 / 5.85), 1.05),
        echo(10, 1 << 20, 1, uws(441.0 / 303.0), 0.80),
        bar(Question::Handshake, crate::driver::HANDSHAKES_AT_ONCE, 0, 1, FloorSend, 1.15),
        bar(Question::Idle, 18_000, 0, 1, Nothing, 300.0),
        bar(Question::Idle, 2000, 0, 1, Nothing, 300.0),
        // Drawn for a turn of the loop; an echo waits for at least one.
        bar(Question::Amid, 18_000, 64, 1, Nothing, 5.0),
        bar(Question::Amid, 1000, 64, 1, Nothing, 5.0),
        bar(Question::Deflate, 10_000, 1024, 1, Plain, 1.15),
        bar(Question::Deflate, 1000, 1024, 1, Plain, 1.15),
        bar(Question::Flood, 2, 0, 1, Nothing, 3.0),
        bar(Question::Parting, 18_000, 0, 1, Nothing, 1.0),
        bar(Question::Parting, 1000, 0, 1, Nothing, 1.0),
        bar(Question::Stalled, 10_000, 1024, 1024, Nothing, 16.0),
        bar(Question::Beside, 10_000, 1024, 1024, Nothing, 1.05),
        bar(Question::Burst, 10_000, 1024, 128, Nothing, 1.1),
        bar(Question::Heartbeats, 18_000, 0, 1, Nothing, 2.0),
        bar(Question::Socketio, 10_000, 64, 1, Plain, 1.15),
        bar(Question::Socketio, 1000, 64, 1, Plain, 1.15),
        bar(Question::Socketio, 10_000, 64, 1, SocketIo, 1.0 / 3.0),
        bar(Question::Socketio, 1000, 64, 1, SocketIo, 1.0 / 3.0),
    ]
}

/// Judges the bars whose cells were measured at all.
pub fn judge(findings: &[Finding]) -> Vec<Verdict> {
    let measured = |bar: &Bar| findings.iter().any(|finding| finding.cell == bar.cell);
    all().iter().filter(|bar| measured(bar)).map(|bar| verdict(bar, findings)).collect()
}

/// Which floor a cell's ratios are taken against.
pub fn floor_of(cell: &Cell) -> &'static str {
    if cell.question == Question::Fanout && cell.width > 1 { "floor-batch" } else { "floor-send" }
}

fn verdict(bar: &Bar, findings: &[Finding]) -> Verdict {
    let median = |server: &str| table::values(findings, &bar.cell, server).median();
    let factor = bar.factor;
    let (words, reference) = match bar.against {
        Against::FloorSend => (format!("≤ {factor:.2} × floor-send"), median("floor-send")),
        Against::FloorBatch => (format!("≤ {factor:.2} × floor-batch"), median("floor-batch")),
        Against::Uws { of_floor } => match (median(UWS), of_floor) {
            (Some(measured), _) => (format!("≤ {factor:.2} × uWebSockets"), Some(measured)),
            (None, Some(of_floor)) => (
                format!("≤ {factor:.2} × uWebSockets (recorded: {of_floor:.2} × floor)"),
                median("floor-send").map(|floor| floor * of_floor),
            ),
            (None, None) => (format!("≤ {factor:.2} × uWebSockets"), None),
        },
        Against::Plain => {
            let plain = Cell { kind: Kind::Plain, ..bar.cell };
            (format!("≤ {factor:.2} × plain"), table::values(findings, &plain, JUDGED).median())
        }
        Against::SocketIo => (format!("≤ {factor:.2} × npm socket.io"), median(SOCKET_IO)),
        Against::Nothing => (format!("≤ {factor}"), Some(1.0)),
    };
    let (most, measured) = (reference.map(|reference| reference * factor), median(JUDGED));
    let outcome = match (most, measured) {
        (Some(most), Some(measured)) if measured <= most => Outcome::Pass,
        (Some(_), Some(_)) => Outcome::Fail,
        (None, _) | (_, None) => Outcome::NotMeasured,
    };
    Verdict { cell: bar.cell, bar: words, most, measured, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(server: &str, cell: Cell, value: f64) -> Finding {
        Finding { cell, server: server.into(), round: 0, value: Some(value), wall_us: None, failure: None }
    }

    #[test]
    fn bars_are_ratios_of_the_run_at_hand() {
        let cell =
            Cell { question: Question::Fanout, clients: 1000, size_bytes: 64, width: 1, kind: Kind::Plain };
        let floor = finding("floor-send", cell, 2.0);
        for (value, outcome) in [(2.19, Outcome::Pass), (2.21, Outcome::Fail)] {
            let verdicts = judge(&[floor.clone(), finding("stentor", cell, value)]);
            assert_eq!(verdicts.len(), 1);
            assert_eq!(verdicts[0].outcome, outcome);
        }
        assert_eq!(judge(&[floor])[0].outcome, Outcome::NotMeasured);
    }

    #[test]
    fn a_measured_uws_replaces_the_recorded_one() {
        let cell =
            Cell { question: Question::Echo, clients: 10, size_bytes: 1 << 20, width: 1, kind: Kind::Plain };
        let run = [finding("floor-send", cell, 300.0), finding("stentor", cell, 330.0)];
        assert_eq!(judge(&run)[0].outcome, Outcome::Pass);
        let with = [run[0].clone(), run[1].clone(), finding("uws", cell, 400.0)];
        assert_eq!(judge(&with)[0].outcome, Outcome::Fail);
    }

    #[test]
    fn socket_io_has_two_bars_and_each_wants_its_rival() {
        let question = Question::Socketio;
        let cell = Cell { question, clients: 1000, size_bytes: 64, width: 1, kind: Kind::Socketio };
        let plain = finding("stentor", Cell { kind: Kind::Plain, ..cell }, 2.0);
        let outcomes = |findings: &[Finding]| judge(findings).iter().map(|it| it.outcome).collect::<Vec<_>>();
        let ours = finding("stentor", cell, 2.2);
        assert_eq!(outcomes(&[plain.clone(), ours.clone()]), [Outcome::Pass, Outcome::NotMeasured]);
        let fast = finding(SOCKET_IO, cell, 6.5);
        assert_eq!(outcomes(&[plain, ours, fast]), [Outcome::Pass, Outcome::Fail]);
    }
}
