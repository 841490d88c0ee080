//! The present as Kubernetes writes it.

use jiff::Timestamp;

/// Now, whole seconds, UTC.
pub(crate) fn now() -> String {
    threeport_store::lifecycle::timestamp(Timestamp::now())
}

/// How long ago `then` was, as kubectl shows it: `45s`, `5m30s`, `3h12m`, `4d`, `1y20d`.
pub(crate) fn age(then: &str, now: Timestamp) -> Option<String> {
    let then: Timestamp = then.parse().ok()?;
    let seconds = now.as_second() - then.as_second();
    Some(human(seconds))
}

/// As `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let with = |rest: i64, big: String, unit: &str| if rest == 0 { big } else { format!("{big}{rest}{unit}") };
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => with(seconds % 60, format!("{minutes}m"), "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(minutes % 60, format!("{hours}h"), "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(hours % 24, format!("{days}d"), "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => with(days % 365, format!("{}y", days / 365), "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_read_as_in_kubectl() {
        let day = 86_400;
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (150, "2m30s"),
            (180, "3m"),
            (700, "11m"),
            (3 * 3600 + 60, "3h1m"),
            (30 * 3600, "30h"),
            (3 * day + 3600, "3d1h"),
            (20 * day, "20d"),
            (800 * day, "2y70d"),
            (3000 * day, "8y"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }
}
