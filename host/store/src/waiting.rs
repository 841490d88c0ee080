//! What waits for the writer. What runs ask for goes first: there are never more of them than slots. Of the writes, each namespace's turn comes as often
//! as any other's, however many wait in one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layer::Step;
use crate::requests::{Asked, Request};

/// A request and since when it waits.
pub(crate) type Since = (Instant, Asked);

type Lane = Option<Arc<str>>;

#[derive(Default)]
pub(crate) struct Waiting {
    runs: VecDeque<Since>,
    lanes: HashMap<Lane, VecDeque<Since>>,
    /// The namespaces that have something, in the order of their turns.
    turns: VecDeque<Lane>,
    count: usize,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Asked> {
        self.runs.iter().chain(self.lanes.values().flatten()).map(|(_, asked)| asked)
    }

    pub(crate) fn push(&mut self, asked: Since) {
        self.lane(&asked.1.request).push_back(asked);
    }

    /// Puts what was taken back, before everything else of its kind.
    pub(crate) fn put_back(&mut self, taken: Vec<Since>) {
        taken.into_iter().rev().for_each(|asked| self.lane(&asked.1.request).push_front(asked));
    }

    fn lane(&mut self, request: &Request) -> &mut VecDeque<Since> {
        self.count += 1;
        let namespace = match request {
            Request::Write(steps, _) => steps.iter().find_map(Step::namespace),
            Request::Blob(..) | Request::Compact(..) => None,
            _ => return &mut self.runs,
        };
        if !self.lanes.contains_key(&namespace) {
            self.turns.push_back(namespace.clone());
        }
        self.lanes.entry(namespace).or_default()
    }

    /// Whose turn it is next. Claims come last in a group, so that they see what the others make due.
    pub(crate) fn next(&mut self) -> Option<Since> {
        if let Some(asked) = self.runs.pop_front() {
            self.count -= 1;
            return Some(asked);
        }
        let namespace = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&namespace)?;
        let asked = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.count -= 1;
        asked
    }

    /// The group of those whose turn it is: so many and so large at most, one at least.
    pub(crate) fn group(&mut self, most: usize, bytes: usize) -> Vec<Since> {
        let (mut group, mut size) = (Vec::new(), 0);
        while group.len() < most && size < bytes {
            let Some(asked) = self.next() else { break };
            size += asked.1.request.size();
            group.push(asked);
        }
        group.sort_by_key(|(_, asked)| matches!(asked.request, Request::Claim { .. }));
        group
    }

    /// Those who have waited for longer than that.
    pub(crate) fn expired(&mut self, longer: Duration) -> Vec<Asked> {
        let mut expired = Vec::new();
        for lane in self.lanes.values_mut().chain([&mut self.runs]) {
            while let Some((_, asked)) = lane.pop_front_if(|(since, _)| since.elapsed() > longer) {
                expired.push(asked);
            }
        }
        self.count -= expired.len();
        self.lanes.retain(|_, lane| !lane.is_empty());
        self.turns.retain(|namespace| self.lanes.contains_key(namespace));
        expired
    }

    pub(crate) fn drain(&mut self) -> Vec<Since> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::types::{Key, Precondition, Resource};

    fn write(namespace: &str, name: &str) -> Since {
        let key = Key { resource: Resource::new("", "things"), namespace: Some(namespace.into()), name: name.into() };
        let step = Step::Remove { key, precondition: Precondition::Absent };
        (Instant::now(), Request::Write(vec![step], oneshot::channel().0).asked())
    }

    fn claim() -> Since {
        let (owner, ttl, sent) = ("me".into(), Duration::ZERO, Instant::now());
        let reply = oneshot::channel().0;
        (sent, Request::Claim { owner, ttl, limit: 1, shares: Box::default(), sent, reply }.asked())
    }

    fn names(asked: &[Since]) -> Vec<String> {
        let name = |request: &Request| match request {
            Request::Write(steps, _) => match &steps[0] {
                Step::Remove { key, .. } => key.name.to_string(),
                _ => unreachable!(),
            },
            _ => "claim".to_owned(),
        };
        asked.iter().map(|(_, asked)| name(&asked.request)).collect()
    }

    #[test]
    fn a_storm_of_writes_leaves_each_namespace_its_turn_and_runs_come_before() {
        let mut waiting = Waiting::default();
        (0..100).for_each(|n| waiting.push(write("storm", &format!("s{n}"))));
        waiting.push(write("small", "one"));
        waiting.push(claim());
        let group = waiting.group(4, usize::MAX);
        assert_eq!(names(&group), ["s0", "one", "s1", "claim"]);
        assert_eq!(waiting.len(), 98);
        waiting.put_back(group);
        waiting.push(write("small", "two"));
        assert_eq!(names(&waiting.group(6, usize::MAX)), ["s0", "one", "s1", "two", "s2", "claim"]);
    }

    #[test]
    fn who_has_waited_too_long_is_found_in_whatever_lane() {
        let mut waiting = Waiting::default();
        waiting.push(write("a", "one"));
        waiting.push(claim());
        assert!(waiting.expired(Duration::from_secs(60)).is_empty());
        let mut found = 0;
        while !waiting.is_empty() {
            found += waiting.expired(Duration::from_millis(1)).len();
        }
        assert_eq!((found, waiting.drain().len()), (2, 0));
        waiting.push(write("a", "two"));
        assert_eq!(names(&waiting.drain()), ["two"]);
    }
}
