//! Scripted peers: clients of every kind and manner, speaking through the real client half of the codec.
//!
//! A peer is sans-IO as well: it is told what reached it and answers with [`Deed`]s, which the network carries out.
//! It checks what it hears as it hears it: legal HTTP, legal frames, nothing behind a close frame, pongs only for its
//! own pings, messages as the [book](super::book) has them.
//!
//! Invariant: what a peer does follows from its script and what it hears.

mod compression;
mod ear;
mod errand;
mod voice;
mod wrong;

use fastrand::Rng;

pub use errand::{Ending, Errand, Habits, Noise, Reading};
pub use wrong::Wrong;

use super::book::Book;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::ws::handshake::ClientHandshake;
use crate::ws::{self, CloseCode, Decoder, Role};
use compression::Compression;
use errand::draw_errand;
use wrong::HEADS;

/// What a peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Ends its side.
    End,
    /// Resets the connection.
    Reset,
    /// Is gone without a word.
    Vanish,
    /// Wants to act again after this time.
    Again(Nanos),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Talking,
    HeardClose,
    Over,
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its number in the world.
    pub number: usize,
    /// When it connects.
    pub comes: Nanos,
    /// How it reads.
    pub reading: Reading,
    errand: Errand,
    ending: Ending,
    /// It does not answer pings and close frames.
    is_mute: bool,
    /// It says nothing more unless it is asked something.
    is_hushed: bool,
    limits: ws::Limits,
    rng: Rng,
    stage: Stage,
    handshake: ClientHandshake,
    received: Vec<u8>,
    decoder: Decoder,
    said: u32,
    pings: u32,
    pongs: u32,
    said_close: bool,
    ended: bool,
    /// Requests without an answer; whether each is a HEAD request.
    requests: std::collections::VecDeque<bool>,
    script: Vec<u8>,
    compression: Compression,
    /// Publications by HTTP, one number a channel.
    posted: [u64; 2],
    /// How long it rests between two messages, if that is not drawn.
    pace: Option<Nanos>,
    /// How large its messages are, if that is not drawn.
    size: Option<usize>,
}

/// What a peer is and does, where that is not drawn.
#[derive(Debug, Clone)]
pub struct Part {
    /// When it connects, from the beginning of the world; the last moment of all is when it is sent for.
    pub comes: Nanos,
    /// What for.
    pub errand: Errand,
    /// How it reads.
    pub reading: Reading,
    /// How it ends.
    pub ending: Ending,
    /// It does not answer pings and close frames.
    pub is_mute: bool,
    /// How long it rests between two messages.
    pub pace: Option<Nanos>,
    /// How large its messages are.
    pub size: Option<usize>,
    /// It asks for compression, in whatever way.
    pub is_compressed: bool,
}

impl Peer {
    /// Draws a peer and enters it in the book.
    pub fn draw(number: usize, rng: &mut Rng, habits: Habits, book: &mut Book) -> Self {
        let mut own = rng.fork();
        let errand = draw_errand(number, &mut own, habits);
        let reading = match own.u32(..12) {
            0 => Reading::Slow(own.usize(1..2000), MILLI * own.u64(1..400)),
            1 => Reading::Later,
            2 if !habits.is_crowd => Reading::Never,
            _ => Reading::Prompt,
        };
        let ending = match own.u32(..12) {
            0 | 1 => Ending::Polite,
            2 => Ending::Hasty,
            3 => Ending::End,
            4 => Ending::Reset,
            5 => Ending::Vanish,
            _ => Ending::Stay,
        };
        let is_mute = own.u32(..24) == 0;
        let is_compressed = habits.is_compressed && own.u32(..3) > 0;
        let comes = own.u64(..=habits.within);
        let part = Part { comes, errand, reading, ending, is_mute, pace: None, size: None, is_compressed };
        Self::cast(number, part, habits.limits, own, book)
    }

    /// A peer that does its part, entered in the book.
    pub fn cast(number: usize, part: Part, limits: ws::Limits, mut rng: Rng, book: &mut Book) -> Self {
        let account = &mut book.accounts[number];
        account.facts.is_deaf = part.reading != Reading::Prompt || part.is_mute;
        account.facts.is_noisy = matches!(part.errand, Errand::Noise(_));
        let mut nonce = [0; 16];
        rng.fill(&mut nonce);
        let asks = part.is_compressed
            || matches!(part.errand, Errand::Noise(Noise::Frame(wrong)) if wrong.is_compressed());
        let compression = if asks { Compression::draw(&mut rng) } else { Compression::default() };
        Self {
            compression,
            number,
            comes: part.comes,
            reading: part.reading,
            errand: part.errand,
            ending: part.ending,
            is_mute: part.is_mute,
            is_hushed: false,
            limits,
            handshake: ClientHandshake::new(nonce),
            rng,
            stage: Stage::Asking,
            received: Vec::new(),
            decoder: Decoder::new(Role::Client),
            said: 0,
            pings: 0,
            pongs: 0,
            said_close: false,
            ended: false,
            requests: std::collections::VecDeque::new(),
            script: Vec::new(),
            posted: [0; 2],
            pace: part.pace,
            size: part.size,
        }
    }

    /// The connection stands as far as the peer knows.
    pub fn begin(&mut self, deeds: &mut Vec<Deed>) {
        match &self.errand {
            Errand::Talk(target, _) => {
                let target = target.clone();
                deeds.push(Deed::Send(self.request(&target)));
            }
            Errand::Noise(Noise::BadStream) => deeds.push(Deed::Send(self.request("/broadcast/noise"))),
            Errand::Noise(Noise::Frame(_) | Noise::Unfinished) => {
                deeds.push(Deed::Send(self.request("/echo")))
            }
            Errand::Noise(Noise::Head(which)) => deeds.push(Deed::Send(HEADS[*which].0.into())),
            Errand::Noise(Noise::Barred(target, _)) => deeds.push(Deed::Send(self.request(target))),
            Errand::Noise(Noise::Bytes) => deeds.push(Deed::Send(self.random(400))),
            Errand::Noise(Noise::HalfHead) => {
                let request = self.request("/echo");
                let half = self.rng.usize(1..request.len());
                deeds.push(Deed::Send(request[..half].to_vec()));
            }
            Errand::Noise(Noise::Dribble) => self.script = self.request("/echo?slowly=1"),
            Errand::Noise(Noise::Silence) | Errand::Browse(_) | Errand::Post(_) => {}
        }
        deeds.push(Deed::Again(self.rng.u64(..2 * SECOND)));
    }

    /// A moment that the peer asked for has come.
    pub fn act(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        if self.ended || self.is_hushed || self.stage == Stage::Over {
            return;
        }
        match (self.errand.clone(), self.stage) {
            (Errand::Talk(_, messages), Stage::Talking) if !self.said_close => {
                if self.said < messages {
                    self.talk(book, deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            // Not let in yet: it looks again later, or loses patience.
            (Errand::Talk(..), Stage::Asking) => {
                if matches!(self.ending, Ending::Reset | Ending::Vanish) && self.rng.u32(..4) == 0 {
                    return self.part(self.ending, book, deeds);
                }
                deeds.push(Deed::Again(self.pause()));
            }
            (Errand::Browse(requests), Stage::Asking) => {
                if self.said < requests {
                    self.browse(deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            (Errand::Post(posts), Stage::Asking) => {
                if self.said < posts {
                    self.post(book, deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            (Errand::Noise(noise), stage) => self.be_noisy(noise, stage, deeds),
            _ => {}
        }
    }

    /// It goes on with its nonsense.
    fn be_noisy(&mut self, noise: Noise, stage: Stage, deeds: &mut Vec<Deed>) {
        match (noise, stage) {
            (Noise::Dribble, Stage::Asking) => {
                if let Some(&byte) = self.script.get(self.said as usize) {
                    self.said += 1;
                    deeds.push(Deed::Send(vec![byte]));
                    deeds.push(Deed::Again(SECOND));
                }
            }
            // It never stops, so that nobody can say that it is idle.
            (Noise::Unfinished, Stage::Talking) if self.said > 0 => {
                let mut out = Vec::new();
                self.ping(&mut out);
                deeds.extend([Deed::Send(out), Deed::Again(SECOND)]);
            }
            (noise, Stage::Talking) if self.said == 0 => {
                self.said = 1;
                let bytes = match noise {
                    Noise::Frame(wrong) => wrong.bytes(&self.limits),
                    Noise::BadStream | Noise::Bytes => self.random(2000),
                    Noise::Unfinished => self.beginning(),
                    Noise::HalfHead
                    | Noise::Dribble
                    | Noise::Silence
                    | Noise::Head(_)
                    | Noise::Barred(..) => Vec::new(),
                };
                deeds.extend([Deed::Send(bytes), Deed::Again(SECOND)]);
            }
            (Noise::Frame(_) | Noise::BadStream | Noise::Unfinished, Stage::Asking) => {
                deeds.push(Deed::Again(self.pause()));
            }
            _ => {}
        }
    }

    /// The peer goes, in this manner.
    pub fn part(&mut self, ending: Ending, book: &mut Book, deeds: &mut Vec<Deed>) {
        if self.ended || self.stage == Stage::Over {
            return;
        }
        let is_talking = self.stage == Stage::Talking;
        let now = book.now;
        let facts = &mut book.accounts[self.number].facts;
        match ending {
            Ending::Polite | Ending::Hasty if is_talking && !self.said_close => {
                (facts.said_close, facts.closed_at) = (true, Some(now));
                self.close(CloseCode::NORMAL, deeds);
                if ending == Ending::Hasty {
                    self.end(book, deeds);
                }
            }
            Ending::Polite if is_talking => {}
            Ending::Stay | Ending::Polite | Ending::Hasty | Ending::End => self.end(book, deeds),
            Ending::Reset => {
                (facts.reset, self.ended, self.stage) = (true, true, Stage::Over);
                deeds.push(Deed::Reset);
            }
            Ending::Vanish => {
                (self.ended, self.stage) = (true, Stage::Over);
                deeds.push(Deed::Vanish);
            }
        }
    }

    /// The network has broken its connection: it is gone, and not for a reason of its own.
    pub fn cut_off(&mut self, book: &mut Book) {
        book.accounts[self.number].facts.reset = true;
        (self.ended, self.stage) = (true, Stage::Over);
    }

    /// Nothing goes wrong any more: who only waited begins to read.
    pub fn heal(&mut self) {
        if self.reading == Reading::Later || matches!(self.reading, Reading::Slow(..)) {
            self.reading = Reading::Prompt;
        }
    }

    /// It says nothing more, so that what is on its way can arrive.
    pub fn hush(&mut self) {
        self.is_hushed = true;
    }

    /// Whether it has been let in and talks.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.stage == Stage::Talking && !self.said_close && !self.ended
    }

    /// Whether it waits to be let in, and should be.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Asking && !self.ended && matches!(self.errand, Errand::Talk(..))
    }

    /// How many messages or requests it has sent.
    #[must_use]
    pub const fn said(&self) -> u32 {
        self.said
    }

    /// Whether it never says what it wants.
    #[must_use]
    pub const fn is_never_let_in(&self) -> bool {
        matches!(self.errand, Errand::Noise(Noise::HalfHead | Noise::Dribble | Noise::Silence))
    }

    /// How many requests have had no answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        if self.ended { 0 } else { self.requests.len() }
    }

    fn end(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        self.ended = true;
        let facts = &mut book.accounts[self.number].facts;
        facts.ended = true;
        facts.ended_well = self.said_close || matches!(self.errand, Errand::Browse(_) | Errand::Post(_));
        deeds.push(Deed::End);
    }
}
