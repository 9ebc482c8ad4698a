//! What publishing costs without a socket: topics, batches, the walk over the subscribers, the ledger.
//!
//! A `send` of 64 bytes takes the kernel two to four microseconds; what stands here comes on top of every one.

use bench::driver::frames;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::base::id::ConnId;
use stentor::hub::Hub;
use stentor::hub::compressors::Compressors;
use stentor::hub::delivery::Step;
use stentor::hub::dialect::Dialect;
use stentor::hub::topics::TopicId;
use stentor::ws::Kind;

fn id(index: u32) -> ConnId {
    ConnId { index, serial: index + 1 }
}

fn populated(subscribers: u32) -> (Hub, TopicId) {
    let mut hub = Hub::default();
    let topic = hub.topics.join(id(0), "sea");
    (1..subscribers).for_each(|index| {
        hub.topics.join(id(index), "sea");
    });
    (hub, topic)
}

/// Delivers all that waits, as the server does, with sockets that take everything at once.
fn deliver(hub: &mut Hub) -> usize {
    let mut bytes = 0;
    while let Some(mut delivery) = hub.next_delivery() {
        let members = hub.topics.members(delivery.topic());
        loop {
            match delivery.step(members, &mut hub.ledger, 1) {
                Step::Visit(_) => {
                    for frame in (0..delivery.frames()).map(|index| delivery.frame(index)) {
                        bytes += frame.len();
                        let debt = frame.debt(0);
                        let one = u32::from(debt.entry == delivery.entry());
                        hub.ledger.paid(debt.entry, one, u64::from(debt.publications), 2);
                    }
                }
                Step::Skip => {}
                Step::Done => break,
            }
        }
        hub.end(delivery, 3);
    }
    bytes
}

fn publications(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub/publish and deliver");
    for (subscribers, burst) in [(1000, 1), (10_000, 1), (10_000, 100)] {
        let (mut hub, topic) = populated(subscribers);
        group.throughput(Throughput::Elements(u64::from(subscribers) * burst));
        group.bench_function(BenchmarkId::from_parameter(format!("{subscribers} x{burst}")), |b| {
            b.iter(|| {
                for _ in 0..burst {
                    hub.publish(topic, Kind::Binary, &[7; 64], ConnId::NONE, 0);
                }
                deliver(&mut hub)
            });
        });
    }
    group.finish();
}

/// Half of the subscribers leave and as many come; the next delivery closes the ranks.
fn comings_and_goings(c: &mut Criterion) {
    const STAYING: u32 = 5000;
    let (mut hub, topic) = populated(STAYING);
    let mut group = c.benchmark_group("hub/topics");
    group.throughput(Throughput::Elements(u64::from(STAYING)));
    group.bench_function("join and leave", |b| {
        b.iter(|| {
            (STAYING..2 * STAYING).for_each(|index| {
                hub.topics.join(id(index), "sea");
            });
            (STAYING..2 * STAYING).for_each(|index| hub.topics.leave(id(index), topic));
            hub.publish(topic, Kind::Binary, b"x", ConnId::NONE, 0);
            deliver(&mut hub)
        });
    });
    group.finish();
}

/// Once for a publication and window, however many hear it.
fn compression(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub/compress JSON");
    for size in [1 << 10, 16 << 10, 64 << 10] {
        let frame = frames::plain(&frames::json(size));
        group.throughput(Throughput::Bytes(size as u64));
        for dialect in Dialect::DEFLATED {
            let (mut compressors, mut out) = (Compressors::new(0), Vec::new());
            group.bench_function(BenchmarkId::new(format!("{dialect:?}"), size), |b| {
                b.iter(|| {
                    out.clear();
                    compressors.append(dialect, &frame, &mut out)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, publications, comings_and_goings, compression);
criterion_main!(benches);
