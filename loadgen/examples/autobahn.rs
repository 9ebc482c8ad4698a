//! Lets the Autobahn suite's `fuzzingserver` judge the client side that `loadgen` measures with.
//!
//! A load generator whose codec bends the protocol measures a protocol of its own. This program asks the suite how
//! many cases it has, goes through them one connection each, echoes what it hears, and has the report written:
//! `autobahn HOST:PORT`. The codec is the library's, in the client's role, exactly as `loadgen` uses it; sockets
//! here are blocking, since one case runs at a time.
//!
//! Invariant: the program's exit code says only whether all cases ran; what came out is judged from the report.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use stentor::http::{self, HeadScan, Storage, client::Response};
use stentor::ws::deflate::{Deflater, Inflater};
use stentor::ws::extension::{Agreed, Ask};
use stentor::ws::handshake::{ClientHandshake, ClientRequest};
use stentor::ws::{CloseCode, Cursor, Decoder, Event, Kind, Limits, Opcode, Role, Violation};
use stentor::ws::{close, encode_masked};

/// What the suite's largest cases need: 16 MiB in one message, 65 536 fragments.
const LIMITS: Limits = Limits { frame_max: 16 << 20, message_max: 16 << 20, fragments_max: 65_537 };
/// Room for one read.
const READ_BYTES: usize = 256 * 1024;
/// A case that is quiet for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Leaves the suite every freedom: contexts taken over or not, windows of either side from 9 bits to 15.
const ASK: Ask = Ask {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: true,
};

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: autobahn HOST:PORT");
        return ExitCode::from(2);
    };
    match run(&address) {
        Ok(count) => {
            println!("{count} cases");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> Result<u32, Box<dyn Error>> {
    let mut count = String::new();
    Connection::open(address, "/getCaseCount")?.converse(|payload| {
        count = String::from_utf8_lossy(payload).into_owned();
        false
    })?;
    let count: u32 = count.parse().map_err(|_| format!("the suite has `{count}` cases"))?;
    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent=loadgen");
        // A failed case is the report's to judge; the next one follows in any case.
        if let Err(why) = Connection::open(address, &target)?.converse(|_| true) {
            println!("case {case}: {why}");
        }
    }
    Connection::open(address, "/updateReports?agent=loadgen")?.converse(|_| false)?;
    Ok(count)
}

/// RFC 6455 §5.3: from a strong source, so that no one can choose what bytes stand on the wire.
fn fresh_key() -> [u8; 4] {
    fastrand::u32(..).to_ne_bytes()
}

/// One upgraded connection.
struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    cursor: Cursor,
    /// `window[..filled]` is what was received and is still needed.
    window: Vec<u8>,
    filled: usize,
    /// If compression was agreed on.
    compression: Option<Compression>,
}

/// What a connection with permessage-deflate has more.
struct Compression {
    agreed: Agreed,
    inflater: Inflater,
    deflater: Deflater,
    inflated: Vec<u8>,
}

impl Compression {
    fn new(agreed: Agreed) -> Self {
        let deflater = Deflater::new(agreed.client_window_bits());
        Self { agreed, inflater: Inflater::new(), deflater, inflated: Vec::new() }
    }
}

impl Connection {
    fn open(address: &str, target: &str) -> Result<Self, Box<dyn Error>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let request = ClientRequest { host: address, target, deflate: Some(ASK), ..ClientRequest::default() };
        let handshake = ClientHandshake::new(fastrand::u128(..).to_ne_bytes());
        let mut out = Vec::new();
        handshake.encode_request(&mut out, &request);
        stream.write_all(&out)?;

        let (mut window, mut filled) = (vec![0; READ_BYTES], 0);
        let mut scan = HeadScan::new();
        let head_len = loop {
            let count = stream.read(&mut window[filled..])?;
            if count == 0 {
                return Err("the suite closed during the handshake".into());
            }
            filled += count;
            if let Some(len) = scan.scan(&window[..filled], &http::Limits::default())? {
                break len;
            }
        };
        let mut storage = Storage::new();
        let response = Response::parse(&window[..head_len], &mut storage)?;
        let accepted = handshake.check_response(&request, response.status.0, response.headers())?;
        let compression = accepted.deflate.map(Compression::new);
        // What came behind the head are frames already.
        window.copy_within(head_len..filled, 0);
        let decoder = match compression {
            Some(_) => Decoder::with_deflate(Role::Client),
            None => Decoder::new(Role::Client),
        };
        Ok(Self {
            stream,
            decoder,
            cursor: Cursor::default(),
            window,
            filled: filled - head_len,
            compression,
        })
    }

    /// Reads to the end of the connection. A message that `hear` says yes to is echoed, pings are answered, a
    /// violation is told, a close returned.
    fn converse(mut self, mut hear: impl FnMut(&[u8]) -> bool) -> Result<(), Box<dyn Error>> {
        let mut out = Vec::new();
        loop {
            self.take_events(&mut out, &mut hear);
            // The suite may be gone by the time a close is answered: then the read says so.
            let _ = self.stream.write_all(&out);
            out.clear();
            self.filled = self.cursor.compact(&mut self.window, self.filled);
            if self.window.len() < self.filled + READ_BYTES {
                self.window.resize(self.filled + READ_BYTES.max(self.filled), 0);
            }
            match self.stream.read(&mut self.window[self.filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.filled += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                // The suite resets where it means the end: what it thinks of us is in its report.
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(why) => return Err(why.into()),
            }
        }
    }

    fn take_events(&mut self, out: &mut Vec<u8>, hear: &mut impl FnMut(&[u8]) -> bool) {
        loop {
            let window = &mut self.window[..self.filled];
            let heard = match self.decoder.decode(window, &mut self.cursor, &LIMITS) {
                Ok(None) => return,
                Ok(Some(Event::Message { kind, payload })) => {
                    if hear(payload) {
                        echo(self.compression.as_mut(), out, kind, payload);
                    }
                    Ok(())
                }
                Ok(Some(Event::Compressed { kind, payload })) => {
                    let compression =
                        self.compression.as_mut().expect("a decoder with deflate has it agreed on");
                    compression.inflate(kind, payload).map(|()| {
                        let inflated = std::mem::take(&mut compression.inflated);
                        if hear(&inflated) {
                            echo(Some(compression), out, kind, &inflated);
                        }
                        compression.inflated = inflated;
                    })
                }
                Ok(Some(Event::Ping(payload))) => {
                    encode_masked(out, Opcode::Pong, payload, fresh_key());
                    Ok(())
                }
                Ok(Some(Event::Pong(_))) => Ok(()),
                Ok(Some(Event::Close(told))) => {
                    say_close(out, told.map(|(code, _)| code));
                    Ok(())
                }
                Err(violation) => Err(violation),
            };
            if let Err(violation) = heard {
                return say_close(out, Some(violation.close_code()));
            }
        }
    }
}

impl Compression {
    fn inflate(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        let keep = !self.agreed.server_no_context_takeover();
        self.inflater.inflate(kind, payload, &mut self.inflated, &LIMITS, keep)
    }
}

fn echo(compression: Option<&mut Compression>, out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    match compression {
        Some(Compression { agreed, deflater, .. }) => {
            let keep = !agreed.client_no_context_takeover();
            deflater.encode_deflated_masked(out, kind, payload, fresh_key(), keep);
        }
        None => encode_masked(out, kind.opcode(), payload, fresh_key()),
    }
}

fn say_close(out: &mut Vec<u8>, code: Option<CloseCode>) {
    let mut body = Vec::new();
    if let Some(code) = code {
        close::encode_body(&mut body, code, "");
    }
    encode_masked(out, Opcode::Close, &body, fresh_key());
}
