//! The way of a delivery round the circle of subscribers: first past those who keep up, then past those who are behind.
//!
//! For somebody who is behind one more frame is put on a queue, and nobody waits for that. Ten thousand of them in the midst of a
//! thousand who read would be a thousand queues' worth of waiting for each of these.
//!
//! Who is behind is only a hint: as it was when the walk began, so that both rounds go by the same.
//!
//! Invariant: every position of the circle is come to once, whoever is behind or stops being so on the way.

use std::rc::Rc;

/// A mark for each position of a topic.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Sixty-four to a word; positions beyond have none.
    words: Vec<u64>,
    /// How many there are.
    count: u32,
}

/// How far round the circle a delivery has come.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    start: u32,
    walked: u32,
    circle: u32,
    /// Who was behind when it began; `None` if nobody was.
    late: Option<Rc<[u64]>>,
    is_late: bool,
}

/// What comes next on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This position.
    At(u32),
    /// Some that this round leaves out.
    Others,
    /// Nothing: all have been come to.
    End,
}

const fn bit(words: &[u64], position: u32) -> bool {
    let word = position as usize / 64;
    word < words.len() && words[word] >> (position % 64) & 1 == 1
}

impl Marks {
    /// Marks `position`, or takes its mark away.
    pub(super) fn set(&mut self, position: u32, is_marked: bool) {
        if bit(&self.words, position) == is_marked {
            return;
        }
        let word = position as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] ^= 1 << (position % 64);
        if is_marked {
            self.count += 1;
        } else {
            self.count -= 1;
            if self.count == 0 {
                self.words = Vec::new();
            }
        }
    }

    /// Who stands at `from` comes to stand at `to`, further to the front, where nobody does.
    pub(super) fn move_to(&mut self, from: u32, to: u32) {
        if from != to && bit(&self.words, from) {
            self.set(to, true);
            self.set(from, false);
        }
    }

    /// Whether nothing is marked.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Walk {
    /// It has not come to anybody.
    pub(super) const NONE: Self = Self { start: 0, walked: 0, circle: u32::MAX, late: None, is_late: false };

    /// Round a circle of so many, from `start` on, those who are `behind` last.
    pub(super) fn begin(start: u32, circle: u32, behind: &Marks) -> Self {
        let late = (!behind.is_empty()).then(|| behind.words.as_slice().into());
        let start = if circle == 0 { 0 } else { start % circle };
        Self { start, walked: 0, circle, late, is_late: false }
    }

    /// Goes one step further.
    #[inline]
    pub(super) fn step(&mut self) -> Place {
        if self.walked == self.circle {
            if self.late.is_none() || self.is_late {
                return Place::End;
            }
            (self.walked, self.is_late) = (0, true);
            return Place::Others;
        }
        let mut position = self.start + self.walked;
        if position >= self.circle {
            position -= self.circle;
        }
        let others = if self.late.is_none() { 0 } else { self.others_from(position) };
        if others > 0 {
            self.walked += others;
            return Place::Others;
        }
        self.walked += 1;
        Place::At(position)
    }

    /// How many positions from this one on are not of this round, at most to the end of a word.
    fn others_from(&self, position: u32) -> u32 {
        let word = self.late.as_ref().and_then(|late| late.get(position as usize / 64)).copied().unwrap_or(0);
        let others = if self.is_late { !word } else { word };
        let of_word = (others >> (position % 64)).trailing_ones();
        // Neither past the end of the circle's last word, nor past where the walk began.
        of_word.min(self.circle - position).min(self.circle - self.walked)
    }

    /// Whether nothing of the delivery will come to whoever stands at `position`: it came later, or has had it.
    pub(super) fn has_passed(&self, position: u32) -> bool {
        let Self { start, walked, circle, .. } = *self;
        let place = if position < start { position + (circle - start) } else { position - start };
        let is_behind = self.late.as_ref().is_some_and(|late| bit(late, position));
        let is_of_this_round = is_behind == self.is_late;
        position >= circle || if is_of_this_round { place < walked } else { self.is_late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_move_up_and_take_no_room_when_there_is_none() {
        let mut marks = Marks::default();
        for position in [3, 200, 200] {
            marks.set(position, true);
        }
        marks.move_to(200, 4);
        marks.move_to(100, 5);
        assert_eq!((marks.words[0], marks.count), (0b1_1000, 2));
        marks.set(3, false);
        marks.set(4, false);
        marks.set(5, false);
        assert!(marks.is_empty() && marks.words.is_empty());
    }

    proptest! {
        #[test]
        fn everybody_is_come_to_once_and_those_who_are_behind_last(
            circle in 0..300u32,
            start in any::<u32>(),
            behind in prop::collection::vec(prop::bool::weighted(0.5), 0..400),
            runs in any::<bool>(),
        ) {
            let mut marks = Marks::default();
            let is_behind = |position: u32| {
                let at = if runs { position / 70 } else { position };
                behind.get(at as usize).copied().unwrap_or(false)
            };
            (0..circle + 9).filter(|&position| is_behind(position)).for_each(|position| marks.set(position, true));
            let mut walk = Walk::begin(start, circle, &marks);
            let mut met = Vec::new();
            loop {
                for position in 0..circle + 9 {
                    let is_done = position >= circle || met.contains(&position);
                    prop_assert_eq!(walk.has_passed(position), is_done, "{} after {:?}", position, met);
                }
                match walk.step() {
                    Place::At(position) => met.push(position),
                    Place::Others => {}
                    Place::End => break,
                }
            }
            let first = if circle == 0 { 0 } else { start % circle };
            let (on_time, late): (Vec<u32>, Vec<u32>) =
                (first..circle).chain(0..first).partition(|&position| !is_behind(position));
            prop_assert_eq!(met, [on_time, late].concat());
        }
    }
}
