//! The phase in which a worker hears its siblings and tells them what the turn has brought.
//!
//! Links are heard before anything is told: what came goes to this worker's peers in the same turn. A link that ends here takes
//! its sibling's people along: their presence is forgotten, and the service is told.
//!
//! Invariant: nothing that came from a link is written to one.

use super::link::{Link, Loss};
use super::{Bus, FIGURES, REDIAL_MAX, REDIAL_MIN};
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::hub::letter::{Letter, VERSION};
use crate::net::Net;
use crate::server::worker::Worker;
use crate::service::{Ctx, Service};

impl<N: Net, S: Service> Worker<N, S> {
    /// Whether the links to other workers are still being made.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.bus.as_ref().is_some_and(|bus| bus.is_joining(self.now))
    }

    /// Hears what the other workers have to say, and tells them what this turn has brought.
    pub(in crate::server) fn correspond(&mut self) {
        let Some(mut bus) = self.bus.take() else { return };
        self.pick_up(&mut bus);
        self.dial(&mut bus);
        let slots: Vec<usize> = bus.links.iter().map(|(slot, _)| slot).collect();
        for &slot in &slots {
            if let Err(loss) = self.hear(&mut bus, slot) {
                self.cut(&mut bus, slot, loss);
            }
        }
        self.gather(&mut bus);
        for slot in slots {
            let Some(link) = bus.links.get_mut(slot) else { continue };
            match link.write(&mut self.net, self.now) {
                Ok(sent) => bus.counts.sent += sent,
                // What the sibling had written before is still to be heard, up to the end.
                Err(Loss::End) => link.is_readable = true,
                Err(loss) => self.cut(&mut bus, slot, loss),
            }
        }
        bus.counts.full += u64::from(bus.is_full());
        self.bus = Some(bus);
    }

    /// Lets siblings in that call.
    fn pick_up(&mut self, bus: &mut Bus<N::Socket>) {
        while bus.is_called {
            let id = bus.next_id();
            match self.net.pick_up(id) {
                Ok(socket) => {
                    bus.links.insert(Link::new(socket, id.serial, None, self.now));
                }
                // Without a descriptor nothing can be done now; the caller will try again.
                Err(_) => bus.is_called = false,
            }
        }
    }

    /// Calls the siblings whose turn it is to be called.
    fn dial(&mut self, bus: &mut Bus<N::Socket>) {
        for number in 0..bus.index {
            if bus.siblings[number as usize].call_at.is_none_or(|at| at > self.now) {
                continue;
            }
            let id = bus.next_id();
            let called = self.net.dial(number, id);
            let hello = bus.hello();
            let sibling = &mut bus.siblings[number as usize];
            match called {
                Ok(socket) => {
                    let mut link = Link::new(socket, id.serial, Some(number), self.now);
                    link.say(hello, self.now);
                    bus.links.insert(link);
                    sibling.call_at = None;
                }
                Err(error) => {
                    tracing::debug!(sibling = number, %error, "a worker cannot be called now");
                    sibling.pause = (sibling.pause * 2).clamp(REDIAL_MIN, REDIAL_MAX);
                    sibling.call_at = Some(self.now + sibling.pause);
                }
            }
        }
    }

    /// Reads a link and does what the letters say.
    fn hear(&mut self, bus: &mut Bus<N::Socket>, slot: usize) -> Result<(), Loss> {
        let Some(link) = bus.links.get_mut(slot) else { return Ok(()) };
        // Who cannot deliver what there is does not ask for more.
        if !link.is_readable || self.is_congested() {
            return Ok(());
        }
        let end = link.read(&mut self.net, self.config.publication_max())?;
        let (mut window, mut inbox) = link.take_inbox();
        let mut heard = Ok(());
        while heard.is_ok() {
            heard = match inbox.next(&mut window) {
                Ok(Some(letter)) => self.take_letter(bus, slot, letter),
                Ok(None) => break,
                Err(loss) => Err(loss),
            };
        }
        if let Some(link) = bus.links.get_mut(slot) {
            link.put_back(window, inbox);
        }
        heard.and(end)
    }

    fn take_letter(&mut self, bus: &mut Bus<N::Socket>, slot: usize, letter: Letter<'_>) -> Result<(), Loss> {
        let Some(link) = bus.links.get(slot) else { return Ok(()) };
        let (is_up, sibling) = (link.is_up, link.sibling);
        match (letter, sibling) {
            (Letter::Hello { version, worker, .. }, _) => {
                let is_expected = version == VERSION
                    && (worker as usize) < bus.siblings.len()
                    && worker != bus.index
                    && !is_up
                    && sibling.is_none_or(|expected| expected == worker);
                if !is_expected {
                    return Err(Loss::Garbled("a hello from somebody else"));
                }
                self.came(bus, slot, worker);
            }
            (_, Some(sibling)) if is_up => self.take_news(bus, sibling, letter),
            (_, _) => return Err(Loss::Garbled("a letter before the hello")),
        }
        Ok(())
    }

    fn take_news(&mut self, bus: &mut Bus<N::Socket>, sibling: u32, letter: Letter<'_>) {
        let nobody = ConnId::NONE;
        match letter {
            Letter::Publish { kind, topic, payload } => {
                bus.counts.heard += 1;
                let channel = self.service.topic_channel(topic);
                self.hub.publish_heard(topic, channel, kind, payload, self.now);
                if is_made(Mutation::HeardTwice) {
                    self.hub.publish_heard(topic, channel, kind, payload, self.now);
                }
            }
            Letter::Frames { topic, frames } => {
                bus.counts.heard += 1;
                self.hub.publish_frames_here(topic, frames, nobody, self.now);
            }
            Letter::Presence { topic, subscribers } => {
                self.hub.abroad.is_present(sibling, topic, subscribers)
            }
            Letter::News(news) => {
                self.service.heard(&mut Ctx::new(nobody, 0, self.now, &mut self.hub), sibling, news);
            }
            Letter::Figures(figures) => {
                if let Ok(figures) = serde_json::from_slice(figures) {
                    bus.siblings[sibling as usize].figures = Some((self.now, figures));
                }
            }
            Letter::Selected(told) => {
                bus.counts.heard += 1;
                self.service.selected(&mut Ctx::new(nobody, 0, self.now, &mut self.hub), told);
            }
            Letter::Goodbye => bus.siblings[sibling as usize].is_leaving = true,
            Letter::Hello { .. } => {}
        }
    }

    /// A link is up: it is told who we are, if it does not know, and whom we have.
    fn came(&mut self, bus: &mut Bus<N::Socket>, slot: usize, worker: u32) {
        if let Some(old) = bus.siblings[worker as usize].link {
            // It has begun another life before we noticed the end of the last one.
            self.cut(bus, old as usize, Loss::End);
        }
        let hello = bus.hello();
        let Some(link) = bus.links.get_mut(slot) else { return };
        if link.sibling.is_none() {
            link.say(hello, self.now);
        }
        (link.sibling, link.is_up) = (Some(worker), true);
        for (topic, subscribers) in self.hub.topics.iter() {
            link.say(Letter::Presence { topic, subscribers }, self.now);
        }
        let sibling = &mut bus.siblings[worker as usize];
        (sibling.link, sibling.pause, sibling.call_at) = (Some(slot as u32), 0, None);
        sibling.is_leaving = false;
        bus.counts.ups += 1;
        tracing::debug!(sibling = worker, "linked");
        self.service.sibling_came(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub), worker);
    }

    /// Ends a link. What it held is lost; if it was up, the sibling and all whom it had are gone.
    fn cut(&mut self, bus: &mut Bus<N::Socket>, slot: usize, why: Loss) {
        let Some(link) = bus.links.try_remove(slot) else { return };
        match why {
            Loss::End => {}
            Loss::Stalled => bus.counts.stalls += 1,
            Loss::Garbled(_) => bus.counts.garbled += 1,
        }
        if !is_made(Mutation::LossForgotten) {
            bus.counts.lost += link.queued();
        }
        if let Some(number) = link.sibling {
            let sibling = &mut bus.siblings[number as usize];
            if number < bus.index {
                sibling.pause = (sibling.pause * 2).clamp(REDIAL_MIN, REDIAL_MAX);
                sibling.call_at = Some(self.now + sibling.pause);
            }
            if link.is_up {
                (sibling.link, sibling.figures) = (None, None);
                bus.counts.downs += 1;
                if sibling.is_leaving {
                    tracing::debug!(sibling = number, "another worker has ended");
                } else {
                    tracing::warn!(sibling = number, %why, lost = link.queued(), "a link to another worker is down");
                }
                if !is_made(Mutation::PresenceKept) {
                    self.hub.abroad.forget(number);
                }
                self.service.sibling_gone(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub), number);
            }
        }
        self.net.close(link.socket);
    }

    /// Takes what the turn has left for the siblings, and what they are told beside it.
    fn gather(&mut self, bus: &mut Bus<N::Socket>) {
        for (topic, subscribers) in self.hub.topics.changed() {
            self.hub.abroad.write(Letter::Presence { topic: &topic, subscribers });
        }
        if self.now >= bus.next_figures {
            bus.next_figures = self.now + FIGURES;
            let figures = serde_json::to_vec(&self.figures(Some(&*bus))).expect("numbers are always JSON");
            self.hub.abroad.write(Letter::Figures(&figures));
        }
        if !self.hub.abroad.is_empty() {
            bus.send(self.hub.abroad.take(), self.now);
        }
    }
}
