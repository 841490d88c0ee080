//! What must hold in the end, whatever broke.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::found::{Found, token};
use crate::record::{Kind, Story, Written};
use crate::target::Effect;
use crate::watchers::{Account, Heard};

/// Whether an invariant held.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) says: &'static str,
    /// How many things were looked at.
    pub(crate) checked: usize,
    pub(crate) broken: Vec<String>,
}

impl Verdict {
    fn new(says: &'static str) -> Self {
        Self { says, checked: 0, broken: Vec::new() }
    }

    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken.push(otherwise());
        }
    }
}

/// Every acknowledged write is there, or was overwritten by a later one.
pub(crate) fn kept(written: &Written, found: &Found) -> Verdict {
    let mut verdict = Verdict::new("every acknowledged write is there or was overwritten by a later one");
    for story in &written.stories {
        let now = found.get(story).and_then(|object| token(story.kind, object));
        verdict.check(story.allows(now), || {
            let certain = story.certain.as_ref().map(|content| &content.token);
            let last = story.acknowledged.last();
            format!("{} is {now:?}, and should be {certain:?} after {last:?}", story.name)
        });
        // A story of ten writes is ten of them.
        verdict.checked += story.acknowledged.len().saturating_sub(1);
    }
    verdict.broken.extend(written.strange.iter().cloned());
    let known: BTreeSet<(Kind, &str)> = written.stories.iter().map(|story| (story.kind, story.name.as_str())).collect();
    for (kind, name) in found.objects.keys() {
        // What is there besides is the suite's own: connections.
        let ours = name.starts_with(kind.plural()) && !known.contains(&(*kind, name.as_str()));
        verdict.check(!ours, || format!("{name} is there, and nobody asked for it"));
    }
    verdict
}

/// Whatever host is asked, the answer is the same.
pub(crate) fn agreed(all: &[Found]) -> Verdict {
    let mut verdict = Verdict::new("all hosts tell the same");
    let Some((first, others)) = all.split_first() else { return verdict };
    for (number, other) in others.iter().enumerate() {
        let keys: BTreeSet<_> = first.objects.keys().chain(other.objects.keys()).collect();
        for key in keys {
            let same = first.objects.get(key) == other.objects.get(key);
            verdict.check(same, || format!("{} is not the same on hosts 0 and {}", key.1, number + 1));
        }
    }
    verdict
}

/// Each object was reconciled as it is now.
pub(crate) fn observed(found: &Found) -> Verdict {
    let mut verdict = Verdict::new("status.observedGeneration is the generation, and the object is Ready");
    for ((kind, name), object) in found.objects.iter().filter(|((kind, _), _)| kind.is_reconciled()) {
        let generation = object.pointer("/metadata/generation");
        let observed = object.pointer("/status/observedGeneration");
        let (ready, reason, message) = threeport_tests::condition(object, "Ready");
        verdict.check(generation.is_some() && generation == observed && ready == "True", || {
            format!("{name}: generation {generation:?}, observed {observed:?}, Ready {ready} {reason} {message}")
        });
        if *kind == Kind::Note {
            let (spec, status) = (object.pointer("/spec/text"), object.pointer("/status/text"));
            verdict.check(spec == status, || format!("{name}: its status tells {status:?} of {spec:?}"));
            let served = object.pointer("/status/servedBy");
            let last = served.is_some_and(|served| served == "v2");
            verdict.check(last, || format!("{name}: planned by {served:?}, and the plugin that was pushed last is v2"));
        }
    }
    verdict
}

/// What a target is to hold because of what is stored: computed from the record, by way of the token that is stored.
pub(crate) fn wanted(written: &Written, found: &Found, target: &str) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    for story in written.stories.iter().filter(|story| story.kind == Kind::Puppet) {
        let now = found.get(story).and_then(|object| token(story.kind, object));
        if let Some(content) = now.and_then(|token| story.content(token))
            && content.target.as_deref() == Some(target)
        {
            wanted.extend(content.on_target(&story.name));
        }
    }
    wanted
}

/// A target holds exactly what is asked for.
pub(crate) fn exact(wanted: &BTreeMap<String, String>, holds: &BTreeMap<String, String>) -> Verdict {
    let mut verdict = Verdict::new("the target holds exactly what the acknowledged specs ask for");
    for (name, token) in wanted {
        let there = holds.get(name);
        verdict.check(there == Some(token), || format!("{name} is to hold {token}, and holds {there:?}"));
    }
    for name in holds.keys().filter(|name| !wanted.contains_key(*name)) {
        verdict.check(false, || format!("{name} is on the target, and nobody asks for it"));
    }
    verdict
}

/// Nothing on a target was ever written over by an older run.
pub(crate) fn fenced(effects: &[Effect]) -> Verdict {
    let mut verdict = Verdict::new("no write with an old epoch is visible on the target");
    let mut last: HashMap<(&str, &str), u64> = HashMap::new();
    for effect in effects {
        let before = last.insert((&effect.uid, &effect.owner), effect.epoch).unwrap_or(0);
        verdict.check(before <= effect.epoch, || {
            format!("{} went from epoch {before} to {} at {}", effect.name, effect.epoch, effect.version)
        });
    }
    verdict
}

/// The runs of one object had their effects one after the other, over all that they have on the target.
pub(crate) fn alone(effects: &[Effect]) -> Verdict {
    let mut verdict = Verdict::new("no effects of two runs of one object overlap");
    let mut last: HashMap<&str, (u64, &str)> = HashMap::new();
    for effect in effects {
        let (before, where_) = last.get(effect.owner.as_str()).copied().unwrap_or((0, ""));
        verdict.check(before <= effect.epoch, || {
            format!("{} at epoch {} came after {where_} at {before}", effect.name, effect.epoch)
        });
        if effect.epoch >= before {
            last.insert(&effect.owner, (effect.epoch, &effect.name));
        }
    }
    verdict
}

/// Whoever watches and resumes hears of each change once, in order, and of each change that was acknowledged.
pub(crate) fn heard(accounts: &[Account], written: &Written, found: &Found) -> Verdict {
    let mut verdict = Verdict::new("watchers that resumed saw each change once, in order");
    for kind in Kind::ALL {
        let all: Vec<&Account> = accounts.iter().filter(|account| account.kind == kind).collect();
        for account in &all {
            let who = format!("watcher {} of {}", account.number, kind.plural());
            verdict.broken.extend(account.lost.iter().map(|why| format!("{who}: {why}")));
            for pair in account.heard.windows(2) {
                verdict.check(pair[0].version < pair[1].version, || {
                    format!("{who} heard {:?} and then {:?}", pair[0], pair[1])
                });
            }
            whole(&mut verdict, &who, account, written, found);
        }
        // Two who watched through different hosts heard the same.
        for pair in all.windows(2) {
            let upto = pair[0].reached.min(pair[1].reached);
            let of = |account: &Account| -> Vec<Heard> {
                account.heard.iter().filter(|heard| heard.version <= upto).cloned().collect()
            };
            let (one, other) = (of(pair[0]), of(pair[1]));
            let differs = one.iter().zip(&other).find(|(one, other)| one != other);
            verdict.check(one == other, || {
                format!(
                    "watchers {} and {} of {} heard {} and {} changes, the first difference: {differs:?}",
                    pair[0].number,
                    pair[1].number,
                    kind.plural(),
                    one.len(),
                    other.len()
                )
            });
        }
    }
    verdict
}

/// One watcher's account against what was acknowledged and what is there.
fn whole(verdict: &mut Verdict, who: &str, account: &Account, written: &Written, found: &Found) {
    let versions: BTreeSet<u64> = account.heard.iter().map(|heard| heard.version).collect();
    let mut last: HashMap<&str, &Heard> = HashMap::new();
    for heard in &account.heard {
        let before = last.insert(&heard.uid, heard);
        let follows = match before.map(|before| before.change) {
            None => heard.change == "added",
            Some("deleted") => false,
            Some(_) => heard.change != "added",
        };
        verdict.check(follows, || format!("{who} heard {heard:?} after {before:?}"));
    }
    let of_kind = |story: &&Story| story.kind == account.kind;
    for story in written.stories.iter().filter(of_kind) {
        for write in &story.acknowledged {
            if let Some(version) = write.version {
                verdict.check(versions.contains(&version), || {
                    format!("{who} never heard of the {} of {} at {version}", write.verb, story.name)
                });
            }
        }
    }
    for ((kind, name), object) in &found.objects {
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        if *kind == account.kind && name.starts_with(kind.plural()) {
            let heard = last.get(uid);
            let same = heard.is_some_and(|heard| Some(heard.version) == crate::load::version(object));
            verdict.check(same, || format!("{who} last heard {heard:?} of {name}, which is another now"));
        }
    }
    let there: BTreeSet<&str> = found
        .objects
        .iter()
        .filter(|((kind, _), _)| *kind == account.kind)
        .filter_map(|(_, object)| object.pointer("/metadata/uid").and_then(Value::as_str))
        .collect();
    for (uid, heard) in &last {
        let gone = heard.change == "deleted";
        verdict.check(gone != there.contains(uid), || format!("{who} last heard {heard:?}, which is not so"));
    }
}
