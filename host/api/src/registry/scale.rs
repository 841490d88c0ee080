//! The `scale` subresource: replicas of any kind in one form (`autoscaling/v1 Scale`), which is what `kubectl scale` and autoscalers work with.

use serde_json::{Map, Value, json};
use threeport_store::lifecycle::Part;

use crate::schema::FieldError;

/// Where a kind keeps its replicas.
#[derive(Debug)]
pub(crate) struct Scale {
    spec: Path,
    status: Path,
    selector: Option<Path>,
}

/// A dotted path of fields: `.spec.replicas`.
#[derive(Debug)]
struct Path(String);

impl Path {
    fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.trim_start_matches('.').split('.')
    }

    fn get<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.steps().try_fold(object, |value, step| value.get(step))
    }

    /// The number there; 0 if there is none.
    fn number(&self, object: &Value) -> Result<i64, String> {
        match self.get(object) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| self.mistaken(value, "int64")),
        }
    }

    fn mistaken(&self, value: &Value, wanted: &str) -> String {
        let (shown, kind) = match value {
            Value::Null => ("<nil>".to_owned(), "<nil>"),
            Value::Bool(flag) => (flag.to_string(), "bool"),
            Value::Number(number) => (number.to_string(), if number.is_f64() { "float64" } else { "int64" }),
            Value::String(text) => (text.clone(), "string"),
            Value::Array(_) => (value.to_string(), "[]interface {}"),
            Value::Object(_) => (value.to_string(), "map[string]interface {}"),
        };
        format!("{} accessor error: {shown} is of the type {kind}, expected {wanted}", self.0)
    }
}

impl Scale {
    /// From `subresources.scale` of a definition that was checked.
    pub(super) fn read(source: &Value) -> Option<Self> {
        let path = |key: &str| source[key].as_str().filter(|text| !text.is_empty()).map(|text| Path(text.to_owned()));
        Some(Self {
            spec: path("specReplicasPath")?,
            status: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        })
    }

    /// What a definition says wrong about it; `at` is where it says so.
    pub(super) fn check_source(source: &Value, at: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut path = |key: &str, roots: &[&str], required: bool, should: &str| {
            let field = format!("{at}.{key}");
            match source[key].as_str().unwrap_or_default() {
                "" if required => errors.push(FieldError::required(field, "")),
                "" => {}
                text if !text.starts_with('.') => {
                    let detail = "must be a simple json path starting with .";
                    errors.push(FieldError::invalid(field, &text.into(), detail));
                }
                text if !roots.iter().any(|root| text.starts_with(root)) => {
                    errors.push(FieldError::invalid(field, &text.into(), should));
                }
                _ => {}
            }
        };
        path("specReplicasPath", &[".spec."], true, "should be a json path under .spec");
        path("statusReplicasPath", &[".status."], true, "should be a json path under .status");
        let either = "should be a json path under either .spec or .status";
        path("labelSelectorPath", &[".spec.", ".status."], false, either);
        errors
    }

    /// What keeps an object from being scaled.
    pub(crate) fn check(&self, object: &Value, part: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut count = |path: &Path| match path.number(object) {
            Err(why) => errors.push(FieldError::invalid(path.0.as_str(), &0.into(), why)),
            Ok(count) if count < 0 => {
                errors.push(FieldError::invalid(path.0.as_str(), &count.into(), "should be a non-negative integer"));
            }
            Ok(count) if count > i64::from(i32::MAX) => {
                let detail = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(path.0.as_str(), &count.into(), detail));
            }
            Ok(_) => {}
        };
        if part != Part::Status {
            count(&self.spec);
        }
        count(&self.status);
        if let Some(path) = &self.selector
            && let Some(value) = path.get(object).filter(|value| !value.is_string())
        {
            errors.push(FieldError::invalid(path.0.as_str(), &"".into(), path.mistaken(value, "string")));
        }
        errors
    }

    /// The Scale of an object, without `spec.replicas` where the object says none.
    pub(crate) fn of(&self, object: &Value) -> Result<Value, String> {
        let mut spec = Map::new();
        let replicas = self.spec.number(object)?;
        if self.spec.get(object).is_some() {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        let mut status = json!({"replicas": self.status.number(object)?});
        if let Some(path) = &self.selector
            && let Some(value) = path.get(object)
        {
            let selector = value.as_str().ok_or_else(|| path.mistaken(value, "string"))?;
            if !selector.is_empty() {
                status["selector"] = selector.into();
            }
        }
        let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
        let metadata: Map<String, Value> =
            kept.into_iter().filter_map(|key| Some((key.to_owned(), object["metadata"].get(key)?.clone()))).collect();
        Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
        }))
    }

    /// The path of the wanted replicas.
    pub(crate) fn spec_path(&self) -> &str {
        &self.spec.0
    }

    /// Sets the wanted replicas.
    pub(crate) fn set(&self, object: &mut Value, replicas: i64) {
        let mut at = object;
        for step in self.spec.steps() {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[step];
        }
        *at = replicas.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_found_and_set_where_the_kind_keeps_them() {
        let source = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"});
        assert!(Scale::check_source(&source, "scale").is_empty());
        let scale = Scale::read(&source).expect("a scale");
        let mut object = json!({"metadata": {"name": "a", "labels": {}}, "status": {"size": 2, "selector": "app=a"}});
        let read = scale.of(&object).expect("a Scale");
        assert_eq!((&read["spec"], &read["status"]), (&json!({}), &json!({"replicas": 2, "selector": "app=a"})));
        assert_eq!(read["metadata"], json!({"name": "a"}));
        scale.set(&mut object, 3);
        assert_eq!(scale.of(&object).expect("a Scale")["spec"]["replicas"], 3);
        scale.set(&mut object, -1);
        assert_eq!(scale.check(&object, Part::Main)[0].field, ".spec.size");
        object["status"]["size"] = "two".into();
        let error = scale.of(&object).expect_err("no number");
        assert_eq!(error, ".status.size accessor error: two is of the type string, expected int64");
    }

    #[test]
    fn a_path_that_cannot_be_is_told() {
        let source = json!({"specReplicasPath": ".status.size", "labelSelectorPath": "x"});
        let fields: Vec<String> = Scale::check_source(&source, "scale").into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["scale.specReplicasPath", "scale.statusReplicasPath", "scale.labelSelectorPath"]);
    }
}
