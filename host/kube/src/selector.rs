//! Label selectors, taken apart so that one watch serves many of them.

/// A label selector: what the target is asked for, and what is told apart here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// For the target; None: everything.
    pub(crate) asked: Option<String>,
    /// Labels that all objects of the answer have, in order.
    pub(crate) labels: Vec<String>,
    /// The wanted value of each of them.
    pub(crate) values: Vec<String>,
}

impl Selector {
    /// The target tells everything apart.
    pub(crate) fn exact(selector: Option<&str>) -> Self {
        Self { asked: selector.map(str::to_owned), labels: Vec::new(), values: Vec::new() }
    }

    /// The target is asked for all objects that have the labels which are to have one value. What else a selector says, it is asked for as it stands.
    pub(crate) fn shared(selector: Option<&str>) -> Self {
        // Sets have commas of their own.
        let Some(text) = selector.filter(|text| !text.contains('(')) else { return Self::exact(selector) };
        let (mut pairs, mut others) = (Vec::new(), Vec::new());
        for term in text.split(',').map(str::trim) {
            match pair(term) {
                Some(pair) => pairs.push(pair),
                None => others.push(term),
            }
        }
        pairs.sort_unstable();
        if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
            return Self::exact(selector);
        }
        others.extend(pairs.iter().map(|(label, _)| *label));
        Self {
            asked: Some(others.join(",")),
            labels: pairs.iter().map(|(label, _)| (*label).to_owned()).collect(),
            values: pairs.iter().map(|(_, value)| (*value).to_owned()).collect(),
        }
    }
}

/// `label=value` or `label==value`.
fn pair(term: &str) -> Option<(&str, &str)> {
    let (label, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    let (label, value) = (label.trim(), value.trim());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!label.is_empty() && label.chars().all(plain) && value.chars().all(plain)).then_some((label, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(text: &str) -> (String, Vec<String>, Vec<String>) {
        let Selector { asked, labels, values } = Selector::shared(Some(text));
        (asked.unwrap(), labels, values)
    }

    #[test]
    fn what_is_to_have_one_value_is_told_apart_here() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(shared("x.dev/w=one"), ("x.dev/w".to_owned(), words(&["x.dev/w"]), words(&["one"])));
        assert_eq!(shared("b == 2, a=1"), ("a,b".to_owned(), words(&["a", "b"]), words(&["1", "2"])));
        assert_eq!(shared("a=,tier!=web,!old,new"), ("tier!=web,!old,new,a".to_owned(), words(&["a"]), words(&[""])));
        assert_eq!(Selector::shared(None), Selector::exact(None));
    }

    #[test]
    fn what_cannot_be_taken_apart_is_asked_for_as_it_stands() {
        for odd in ["a in (b,c)", "a=1,b notin (c)", "a=1,a=2"] {
            assert_eq!(Selector::shared(Some(odd)), Selector::exact(Some(odd)));
        }
        assert_eq!(shared("a=b=c"), ("a=b=c".to_owned(), Vec::new(), Vec::new()));
    }
}
