//! Durations as people write and read them.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// A hundred years: longer ones cannot be added to a clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Reads a duration in Go's form: `30s`, `1m30s`, `1.5h`, `-1s` (a week, as kubectl has it). A number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 30s, 5m or 1h30m");
    if let Some(rest) = text.strip_prefix('-') {
        return duration(rest).map(|_| Duration::from_secs(7 * 24 * 3600));
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds).min(LONGEST));
    }
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map(|duration| duration.min(LONGEST)).map_err(|_| wrong())
}

/// How long ago something was, as kubectl's AGE says it.
pub(crate) fn ago(timestamp: &str) -> String {
    let Ok(then) = timestamp.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    human(Timestamp::now().as_second() - then.as_second())
}

/// How long until something.
pub(crate) fn until(timestamp: &str) -> Option<String> {
    let then: Timestamp = timestamp.parse().ok()?;
    Some(human(then.as_second() - Timestamp::now().as_second()))
}

/// Two units at most: `45s`, `5m30s`, `3h12m`, `2d4h`, `30d`.
fn human(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |large: i64, unit: &str, small: i64, less: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{less}") }
    };
    match (seconds, seconds / 60, seconds / 3600, seconds / 86_400) {
        (seconds, ..) if seconds < 120 => format!("{seconds}s"),
        (seconds, minutes, ..) if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        (_, minutes, hours, _) if hours < 3 => format!("{minutes}m"),
        (_, minutes, hours, _) if hours < 8 => two(hours, "h", minutes % 60, "m"),
        (_, _, hours, _) if hours < 48 => format!("{hours}h"),
        (_, _, hours, days) if days < 8 => two(days, "d", hours % 24, "h"),
        (.., days) if days < 2 * 365 => format!("{days}d"),
        (.., days) => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("7", 7000),
            ("0", 0),
            ("-1s", 604_800_000),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
        for text in ["18446744073709551615", "99999999999999h"] {
            assert_eq!(duration(text), Ok(LONGEST), "{text}");
        }
        for text in ["", "s", "1", "1x", "m5", "1s2"] {
            assert_eq!(duration(text).is_err(), text != "1", "{text}");
        }
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (330, "5m30s"),
            (3600, "60m"),
            (11_520, "3h12m"),
            (187_200, "2d4h"),
            (2_592_000, "30d"),
            (-5, "0s"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
