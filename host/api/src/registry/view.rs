//! A kind that shows the objects of another under other names: Events are served by two groups.

use serde_json::Value;

/// Top-level fields by their two names.
#[derive(Debug)]
pub(crate) struct View {
    /// (here, as stored)
    fields: Vec<(String, String)>,
}

impl View {
    /// From `storedAs.fields` of a built-in kind.
    pub(super) fn read(source: &Value) -> Self {
        let fields = source.as_object().into_iter().flatten();
        Self { fields: fields.filter_map(|(here, stored)| Some((here.clone(), stored.as_str()?.to_owned()))).collect() }
    }

    /// From the stored form to this kind's.
    pub(crate) fn show(&self, object: &mut Value) {
        self.rename(object, |(here, stored)| (stored, here));
        // Defaults of the stored form, which this one leaves out.
        if let Some(object) = object.as_object_mut() {
            object.retain(|_, value| value != "");
        }
    }

    /// From this kind's form to the stored one.
    pub(crate) fn store(&self, object: &mut Value) {
        self.rename(object, |(here, stored)| (here, stored));
    }

    fn rename<'a>(&'a self, object: &mut Value, order: impl Fn(&'a (String, String)) -> (&'a String, &'a String)) {
        let Some(object) = object.as_object_mut() else { return };
        for (from, to) in self.fields.iter().map(order) {
            if let Some(value) = object.remove(from) {
                object.insert(to.clone(), value);
            }
        }
    }
}
