//! Trace contexts, as W3C Trace Context has them: which request something belongs to. For operators' eyes only; nothing depends on one.
//!
//! The crates open spans with `tracing` and know no more of it. Whoever exports spans says by [`install`] how a span and a context are one.

use std::fmt::{self, Display, Formatter};
use std::sync::OnceLock;
use std::time::SystemTime;

/// A position in a trace: what W3C's `traceparent` says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Of the trace; not all zero.
    pub trace_id: [u8; 16],
    /// Of the span in it; not all zero.
    pub span_id: [u8; 8],
    /// Bit 0: the trace is recorded.
    pub flags: u8,
}

/// How contexts and spans are one.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The context of the span that is entered; None when spans have none.
    pub current: fn() -> Option<TraceContext>,
    /// Makes a span that was not entered yet a child of a context.
    pub adopt: fn(&tracing::Span, TraceContext),
    /// The context of a span, which begins with that.
    pub of: fn(&tracing::Span) -> Option<TraceContext>,
    /// Adds a span that is over already to a trace: its name, what it came from, beginning and end.
    pub past: fn(&'static str, TraceContext, SystemTime, SystemTime),
}

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Says for the whole process how contexts and spans are one; the first word counts. Without it no span has a context.
pub fn install(hook: Hook) {
    // An error means that somebody else was first.
    let _first = HOOK.set(hook);
}

impl TraceContext {
    /// Reads a `traceparent`; None for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let lengths = [2, 16 * 2, 8 * 2, 2];
        let whole = lengths.iter().sum::<usize>() + 3;
        // A version that is not known yet may say more, after another dash.
        let version = hex::<1>(bytes.get(..2)?)?[0];
        let tail = bytes.get(whole);
        if version == 0xff || (version == 0 && bytes.len() != whole) || tail.is_some_and(|byte| *byte != b'-') {
            return None;
        }
        if [2, 35, 52].iter().any(|dash| bytes.get(*dash) != Some(&b'-')) {
            return None;
        }
        let context = Self {
            trace_id: hex(bytes.get(3..35)?)?,
            span_id: hex(bytes.get(36..52)?)?,
            flags: hex::<1>(bytes.get(53..55)?)?[0],
        };
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// The context of the span that is entered.
    pub fn current() -> Option<Self> {
        HOOK.get().and_then(|hook| (hook.current)())
    }

    /// The context of a span.
    pub fn of(span: &tracing::Span) -> Option<Self> {
        HOOK.get().and_then(|hook| (hook.of)(span))
    }

    /// Makes a span that was not entered yet a child of this.
    pub fn adopt(self, span: &tracing::Span) {
        if let Some(hook) = HOOK.get() {
            (hook.adopt)(span, self);
        }
    }

    /// Adds a span that is over already, as a child of this.
    pub fn past(self, name: &'static str, began: SystemTime, ended: SystemTime) {
        if let Some(hook) = HOOK.get().filter(|_| self.recorded()) {
            (hook.past)(name, self, began, ended);
        }
    }

    /// Whether the trace is recorded: what is said of it for nobody costs time.
    pub fn recorded(self) -> bool {
        self.flags & 1 == 1
    }

    /// The id of the trace, as logs and tools write it.
    pub fn trace(&self) -> impl Display {
        Hex(self.trace_id)
    }
}

impl Display for TraceContext {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(self.trace_id), Hex(self.span_id), self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Display for Hex<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal digits, as the standard wants them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_standard_has_it() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!((context.to_string().as_str(), context.flags), (GOOD, 1));
        assert_eq!(context.trace().to_string(), "0af7651916cd43dd8448eb211c80319c");
        let later = TraceContext::parse(&format!("cc{}-what-comes", &GOOD[2..])).unwrap();
        assert_eq!(later, context);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333ä-1",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad:?}");
        }
    }
}
