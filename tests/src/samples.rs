//! Prometheus' text format, read.

use std::fmt::{self, Display, Formatter};

/// What `/metrics` said at one moment.
#[derive(Clone, Debug)]
pub struct Samples(pub String);

impl Samples {
    /// The samples of a metric whose labels have all of these, such as `verb="GET"`.
    pub fn of<'a>(&'a self, name: &'a str, labels: &'a [&str]) -> impl Iterator<Item = f64> {
        self.0
            .lines()
            .filter(move |line| {
                line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()))
    }

    /// Their sum.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.of(name, labels).sum()
    }
}

impl Display for Samples {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
