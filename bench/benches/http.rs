//! What an HTTP head costs without a socket: finding its end, parsing it.
//!
//! The heads are what a program and what a browser send to open a WebSocket.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stentor::http::{HeadScan, Limits, Request, Storage};

const PLAIN: &str = "GET /broadcast HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const BROWSER: &str = "GET /chat/harbour?name=Homer HTTP/1.1\r\nHost: chat.example.org\r\n\
Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
Upgrade: websocket\r\nOrigin: https://chat.example.org\r\nSec-WebSocket-Version: 13\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,el;q=0.8\r\n\
Cookie: session=3f6c1f0a9f4e4f0db1c2a2f3d4e5f607; theme=dark; consent=yes\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn heads(c: &mut Criterion) {
    let limits = Limits::default();
    for (name, head) in [("plain", PLAIN), ("browser", BROWSER)] {
        let bytes = head.as_bytes();
        let mut group = c.benchmark_group(format!("http/{name}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("scan", |b| {
            b.iter(|| HeadScan::new().scan(black_box(bytes), &limits).expect("the head is good"));
        });
        // The worst a patient peer can do: the scan must stay linear.
        group.bench_function("scan byte by byte", |b| {
            b.iter(|| {
                let mut scan = HeadScan::new();
                (1..=bytes.len()).find_map(|end| scan.scan(&bytes[..end], &limits).expect("the head is good"))
            });
        });
        group.bench_function("parse", |b| {
            b.iter(|| {
                let mut storage = Storage::new();
                Request::parse(black_box(bytes), &mut storage).expect("the head is good").wants_upgrade()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
