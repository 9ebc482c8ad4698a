//! Holds the JSON document to its published schema: the sample, an empty report and a full one validate.
//!
//! Why: scripts are written against `schema/loadgen-1.schema.json`; a key renamed in the code alone would break them
//! silently.
//!
//! Invariants: the schema names every key, requires every key and allows no other.

use jsonschema::Validator;
use loadgen::report::{
    Churn, Cost, Fanout, Reason, Report, SCHEMA, SeriesRow, Server, Slow, Storm, Thread, ThresholdOutcome,
    verdict,
};
use serde_json::Value;

fn validator() -> Validator {
    let schema =
        serde_json::from_str(include_str!("../schema/loadgen-1.schema.json")).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

/// What the schema has against a document.
fn complaints(document: &Value) -> Vec<String> {
    validator().iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn complaints_of(report: &Report) -> Vec<String> {
    complaints(&serde_json::to_value(report).expect("a report is plain data"))
}

/// A report with every optional block present.
fn full() -> Report {
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        fanout: Some(Fanout::default()),
        churn: Some(Churn::default()),
        storm: Some(Storm { back_p50_ns: Some(1), p99_ratio: Some(1.5), ..Storm::default() }),
        slow: Some(Slow::default()),
        cost: Some(Cost { us_per_delivery: Some(2.5), ..Cost::default() }),
        server: Some(Server { pid: Some(7), ..Server::default() }),
        thresholds: vec![ThresholdOutcome::default()],
        series: vec![SeriesRow { phase: "measure".to_owned(), ..SeriesRow::default() }],
        ..Report::default()
    };
    report.run.model = "open".to_owned();
    report.latency.model = "CLOSED".to_owned();
    report.run.label = Some("a label".to_owned());
    report.connect.failures.insert("connection refused".to_owned(), 3);
    report.generator.threads.push(Thread::default());
    verdict::judge(&mut report);
    report.reasons.push(Reason::default());
    report
}

#[test]
fn every_report_validates() {
    assert_eq!(complaints_of(&full()), [""; 0]);
    let bare =
        Report { fanout: None, churn: None, storm: None, slow: None, cost: None, server: None, ..full() };
    assert_eq!(complaints_of(&bare), [""; 0]);
}

#[test]
fn the_sample_validates_and_reads_back() {
    let sample = include_str!("../schema/sample.json");
    assert_eq!(complaints(&serde_json::from_str(sample).expect("the sample is JSON")), [""; 0]);
    let report: Report = serde_json::from_str(sample).expect("the sample is a report");
    assert_eq!(report.deliveries.expected, report.deliveries.received + report.deliveries.lost);
    assert!(!report.series.is_empty() && report.fanout.is_some() && report.server.is_some());
}

#[test]
fn a_missing_or_unknown_key_is_refused() {
    let mut document = serde_json::to_value(full()).expect("a report is plain data");
    document["deliveries"].as_object_mut().expect("a block").remove("lost");
    assert_eq!(complaints(&document).len(), 1);
    let mut document = serde_json::to_value(full()).expect("a report is plain data");
    document["deliveries"]["losses"] = 0.into();
    assert_eq!(complaints(&document).len(), 1);
}
