//! The record of a run, as it is printed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::invariants::Verdict;
use crate::record::Written;

/// Lines that are shown of what broke an invariant.
const SHOWN: usize = 8;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) settling: Duration,
    pub(crate) written: Written,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) effects: usize,
    pub(crate) heard: usize,
    pub(crate) resumed: u64,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether all invariants hold.
    pub(crate) fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.broken.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = &self.written;
        let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
        for write in written.stories.iter().flat_map(|story| &story.acknowledged) {
            *verbs.entry(write.verb).or_default() += 1;
        }
        let verbs: Vec<String> = verbs.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
        writeln!(f, "seed              {}", self.seed)?;
        writeln!(
            f,
            "time              {:.1} s under faults and to the last answer, {:.1} s until all was well",
            self.length.as_secs_f64(),
            self.settling.as_secs_f64()
        )?;
        writeln!(
            f,
            "writes            {} acknowledged ({}), {} undecided, {} refused; {} objects",
            written.acknowledged(),
            verbs.join(", "),
            written.undecided,
            written.refused,
            written.stories.len()
        )?;
        writeln!(f, "effects           {} on targets", self.effects)?;
        writeln!(f, "watched           {} events, {} resumptions", self.heard, self.resumed)?;
        writeln!(f, "faults            {}", self.faults.values().sum::<u64>())?;
        for (kind, count) in &self.faults {
            writeln!(f, "                  {count:4} {kind}")?;
        }
        for verdict in &self.verdicts {
            let holds = if verdict.broken.is_empty() { "holds " } else { "BROKEN" };
            writeln!(f, "{holds}            {} ({} checked)", verdict.says, verdict.checked)?;
            for why in verdict.broken.iter().take(SHOWN) {
                writeln!(f, "                  {why}")?;
            }
            if verdict.broken.len() > SHOWN {
                writeln!(f, "                  and {} more", verdict.broken.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
