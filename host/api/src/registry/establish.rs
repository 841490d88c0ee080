//! What the host says in the status of a CustomResourceDefinition: whether its names are free, and whether it is served.

use serde_json::{Map, Value, json};

use super::kind::Kind;

/// Fills in what a definition may leave out.
pub(crate) fn fill_in(definition: &mut Value) {
    // What has another form is left to the validation, which names it.
    if !definition.pointer("/spec/names").is_some_and(Value::is_object) {
        return;
    }
    let spec = &mut definition["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let names = &mut spec["names"];
    if names["singular"].as_str().is_none_or(str::is_empty) {
        names["singular"] = kind.to_lowercase().into();
    }
    if names["listKind"].as_str().is_none_or(str::is_empty) {
        names["listKind"] = format!("{kind}List").into();
    }
    if spec.get("conversion").is_none() {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// Fills in what a definition may leave out, and says in its status whether it is served.
pub(crate) fn establish(definition: &mut Value, taken: &Taken, now: &str) {
    fill_in(definition);
    let spec = &definition["spec"];
    let wanted = spec["names"].clone();
    let storage: Option<Value> = spec["versions"]
        .as_array()
        .and_then(|versions| versions.iter().find(|v| v["storage"] == true).map(|v| v["name"].clone()));
    let mut status = definition.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let has = status.get("acceptedNames").cloned().unwrap_or_else(|| json!({}));
    let (accepted, conflict) = accept(&wanted, &has, taken);
    status.insert("acceptedNames".into(), accepted);
    let mut stored: Vec<Value> = status.get("storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(version) = storage
        && !stored.contains(&version)
    {
        stored.push(version);
    }
    status.insert("storedVersions".into(), Value::Array(stored));
    match conflict {
        Some((reason, message)) => {
            condition(&mut status, "NamesAccepted", false, reason, &message, now);
            if !is_true(&status, "Established") {
                condition(&mut status, "Established", false, "NotAccepted", "not all names are accepted", now);
            }
        }
        None => {
            condition(&mut status, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            let message = "the initial names have been accepted";
            condition(&mut status, "Established", true, "InitialNamesAccepted", message, now);
        }
    }
    definition["status"] = Value::Object(status);
}

/// Whether a definition is served.
pub(crate) fn is_established(definition: &Value) -> bool {
    definition.get("status").and_then(Value::as_object).is_some_and(|status| is_true(status, "Established"))
}

/// Whether a definition has all the names it wants.
pub(crate) fn has_its_names(definition: &Value) -> bool {
    definition.get("status").and_then(Value::as_object).is_some_and(|status| is_true(status, "NamesAccepted"))
}

fn is_true(status: &Map<String, Value>, kind: &str) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True")
}

/// Names that the other kinds of the group have.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

impl Taken {
    pub(super) fn add(&mut self, kind: &Kind) {
        self.resources.extend([&kind.resource.plural, &kind.singular].map(|name| name.to_string()));
        self.resources.extend(kind.short_names.iter().cloned());
        self.kinds.extend([&kind.kind, &kind.list_kind].map(|name| name.to_string()));
    }
}

/// The names a definition has from now on, and what keeps it from having all that it wants.
fn accept(wanted: &Value, has: &Value, taken: &Taken) -> (Value, Option<(&'static str, String)>) {
    let mut accepted = has.clone();
    let mut conflict = None;
    for (field, reason, names) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let asked = &wanted[field];
        let new = |name: &&Value| match &has[field] {
            Value::Array(had) => !had.contains(name),
            had => had != *name,
        };
        let each: Vec<&Value> = asked.as_array().map_or_else(|| vec![asked], |list| list.iter().collect());
        let used: Vec<String> = each
            .into_iter()
            .filter(new)
            .filter_map(Value::as_str)
            .filter(|name| names.iter().any(|taken| taken == name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        match used.as_slice() {
            [] if asked.is_null() => drop(accepted.as_object_mut().and_then(|accepted| accepted.remove(field))),
            [] => accepted[field] = asked.clone(),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    match &wanted["categories"] {
        Value::Null => drop(accepted.as_object_mut().and_then(|accepted| accepted.remove("categories"))),
        categories => accepted["categories"] = categories.clone(),
    }
    (accepted, conflict)
}

fn condition(status: &mut Map<String, Value>, kind: &str, truth: bool, reason: &str, message: &str, now: &str) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    let truth = if truth { "True" } else { "False" };
    let known = list.iter_mut().find(|c| c["type"] == kind);
    let since = known.as_ref().filter(|c| c["status"] == truth).and_then(|c| c["lastTransitionTime"].as_str());
    let new = json!({
        "type": kind, "status": truth, "reason": reason, "message": message, "lastTransitionTime": since.unwrap_or(now),
    });
    match known {
        // A kind that is served stays so for the reason it came to be.
        Some(condition) if condition["status"] == truth && condition["reason"] == reason => {}
        Some(condition) => *condition = new,
        None => list.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        let names = json!({"plural": plural, "kind": kind, "shortNames": short});
        json!({"spec": {"names": names, "versions": [{"name": "v1", "storage": true}]}})
    }

    #[test]
    fn a_name_belongs_to_who_had_it_first() {
        let mut first = definition("widgets", "Widget", &["wd"]);
        establish(&mut first, &Taken::default(), "now");
        assert!(is_established(&first) && has_its_names(&first));
        assert_eq!(first["status"]["acceptedNames"]["listKind"], "WidgetList");
        let taken = Taken {
            resources: ["widgets", "widget", "wd"].map(str::to_owned).into(),
            kinds: ["Widget", "WidgetList"].map(str::to_owned).into(),
        };
        let mut second = definition("widgetses", "Widget", &["wd", "ws"]);
        establish(&mut second, &taken, "now");
        assert!(!is_established(&second));
        // The last that is in the way is told, as in Kubernetes.
        let named = &second["status"]["conditions"][0];
        assert_eq!(named["reason"], "ListKindConflict");
        assert_eq!(named["message"], "\"WidgetList\" is already in use");
        assert_eq!(second["status"]["acceptedNames"]["plural"], "widgetses");
        assert_eq!(second["status"]["acceptedNames"].get("kind"), None);
        establish(&mut second, &Taken::default(), "later");
        assert!(is_established(&second) && has_its_names(&second));
        assert_eq!(second["status"]["conditions"][1]["lastTransitionTime"], "later");
        // Who is served goes on under the names it has.
        second["spec"]["names"]["shortNames"] = json!(["ws", "sw"]);
        let taken = Taken { resources: vec!["sw".to_owned()], kinds: Vec::new() };
        establish(&mut second, &taken, "even later");
        assert!(is_established(&second) && !has_its_names(&second));
        assert_eq!(second["status"]["acceptedNames"]["shortNames"], json!(["wd", "ws"]));
    }
}
