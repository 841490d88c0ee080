//! What is claimed next. Whoever has less goes first, then the more urgent class, then who has waited longest; and no class is passed over for ever.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet, btree_set};
use std::iter::Peekable;

use crate::shares::{Lot, Shares};

/// Free items by due time and number.
pub(crate) type Due = BTreeSet<(i64, i64)>;

/// After so many claims that passed a class over, the next one is of that class.
const PASSED: u32 = 9;

/// How often each class had something to give and was passed over.
#[derive(Debug, Default)]
pub(crate) struct Turns([u32; 4]);

/// How early a lot's turn comes: its namespace has its fair share already, how much that has, its oldest item; and where the lot stands.
type Rank = (bool, usize, (i64, i64), usize);

/// What is due in a lot, from the oldest on.
type Ids<'a> = Peekable<btree_set::Iter<'a, (i64, i64)>>;

/// The lots of one class that have something due.
struct Heads<'a> {
    lots: Vec<(&'a Lot, Ids<'a>)>,
    /// As they stood when they were ranked: turns only get later while claims are made.
    order: BinaryHeap<Reverse<Rank>>,
}

/// What everybody is judged by.
struct Judge {
    shares: Shares,
    /// What a namespace may have before others, of whatever class, go first.
    fair: usize,
    now: i64,
}

impl Judge {
    fn rank(&self, lot: &Lot, first: Option<(i64, i64)>, at: usize) -> Option<Rank> {
        let first = first.filter(|(due_at, _)| *due_at <= self.now)?;
        let held = self.shares.held_in(&lot.namespace);
        self.shares.has_room(lot).then_some((held >= self.fair, held, first, at))
    }
}

impl<'a> Heads<'a> {
    fn new(lots: &'a BTreeMap<Lot, Due>, judge: &Judge) -> Self {
        let mut heads = Self { lots: Vec::new(), order: BinaryHeap::new() };
        for (lot, due) in lots {
            if let Some(rank) = judge.rank(lot, due.first().copied(), heads.lots.len()) {
                heads.lots.push((lot, due.iter().peekable()));
                heads.order.push(Reverse(rank));
            }
        }
        heads
    }

    /// Whose turn it is.
    fn first(&mut self, judge: &Judge) -> Option<Rank> {
        loop {
            let Reverse(seen) = self.order.peek().copied()?;
            let (lot, ids) = &mut self.lots[seen.3];
            let rank = judge.rank(lot, ids.peek().map(|id| **id), seen.3);
            if rank == Some(seen) {
                return rank;
            }
            self.order.pop();
            self.order.extend(rank.map(Reverse));
        }
    }

    fn take(&mut self, at: usize) -> Option<(&'a Lot, i64)> {
        let (lot, ids) = self.lots.get_mut(at)?;
        ids.next().map(|(_, id)| (*lot, *id))
    }
}

/// Chooses at most `limit` of what is due, in the order in which it is to be claimed.
///
/// A namespace goes on until it has its fair share of all that may be held; from there on those who have not go first, whatever their class. What nobody else
/// wants it may have as well.
pub(crate) fn choose(
    due: &[BTreeMap<Lot, Due>; 4],
    turns: &mut Turns,
    limit: usize,
    shares: Shares,
    now: i64,
) -> Vec<i64> {
    let fair = {
        let wants = due.iter().flatten().filter(|(lot, due)| is_due(due, now) && shares.has_room(lot));
        let active: HashSet<_> = wants.map(|(lot, _)| &lot.namespace).chain(shares.namespaces()).collect();
        (shares.total() + limit).div_ceil(active.len().max(1))
    };
    let mut judge = Judge { shares, fair, now };
    let mut heads = due.each_ref().map(|lots| Heads::new(lots, &judge));
    let mut chosen = Vec::new();
    while chosen.len() < limit {
        let firsts = heads.each_mut().map(|heads| heads.first(&judge));
        for (passed, first) in turns.0.iter_mut().zip(&firsts) {
            // Who has nothing to give is not passed over.
            *passed = first.map_or(0, |_| *passed);
        }
        let late = (0..4).rev().filter(|class| turns.0[*class] >= PASSED).max_by_key(|class| turns.0[*class]);
        let next =
            (0..4).filter_map(|class| firsts[class].map(|(over, held, first, at)| ((over, class, held, first), at)));
        let Some((class, at)) = late
            .and_then(|class| Some((class, firsts[class]?.3)))
            .or_else(|| next.min().map(|((_, class, ..), at)| (class, at)))
        else {
            break;
        };
        let Some((lot, id)) = heads[class].take(at) else { break };
        judge.shares.take(lot);
        chosen.push(id);
        for (other, first) in firsts.iter().enumerate().skip(class + 1) {
            turns.0[other] += u32::from(first.is_some());
        }
        turns.0[class] = 0;
    }
    chosen
}

fn is_due(due: &Due, now: i64) -> bool {
    due.first().is_some_and(|(due_at, _)| *due_at <= now)
}
