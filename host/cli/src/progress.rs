//! Progress: on a terminal one line for each object that changes in place, otherwise one plain line for each change. On stderr, always.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::printable;

/// What is waited for, object by object.
pub(crate) struct Progress {
    /// None: not a terminal.
    screen: Option<MultiProgress>,
    lines: HashMap<String, Line>,
}

struct Line {
    said: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let screen =
            std::io::stderr().is_terminal().then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { screen, lines: HashMap::new() }
    }

    /// Says how an object is doing; nothing when that was said last.
    pub(crate) fn say(&mut self, object: &str, news: &str) {
        if self.lines.get(object).is_some_and(|line| line.said == news) {
            return;
        }
        let screen = self.screen.as_ref();
        let line = self.lines.entry(object.to_owned()).or_insert_with(|| {
            let bar = screen.map(|screen| {
                let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}");
                let bar = screen.add(ProgressBar::new_spinner().with_prefix(object.to_owned()));
                bar.enable_steady_tick(Duration::from_millis(120));
                match style {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                }
            });
            Line { said: String::new(), bar }
        });
        line.said = news.to_owned();
        let news = printable(news);
        match &line.bar {
            Some(bar) => bar.set_message(news),
            // Nothing sensible is left to do when stderr is closed.
            None => drop(writeln!(std::io::stderr(), "{object}: {news}")),
        }
    }

    /// Takes an object's line away: what became of it is said on stdout.
    pub(crate) fn end(&mut self, object: &str) {
        if let Some(Line { bar: Some(bar), .. }) = self.lines.remove(object) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(screen) = &self.screen {
            // The lines stay when the terminal is gone.
            let _cleared = screen.clear();
        }
    }
}
