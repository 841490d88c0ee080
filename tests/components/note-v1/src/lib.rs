//! Keeps a text in status, with the version that served it. Several packages are made of this file, which differ in their version alone: the second
//! version knows a field more, the third takes shorter texts only.

use serde::{Deserialize, Serialize};
use threeport_sdk::{Condition, Description, Failure, Plan, Reconciler, Request, Resource, Status, json, support};

/// The kind Note.
pub struct Note;

/// What the user wants.
#[derive(Deserialize)]
pub struct NoteSpec {
    text: String,
}

/// What is.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NoteStatus {
    text: String,
    served_by: String,
}

impl Resource for Note {
    const API_VERSION: &'static str = "test.threeport.dev/v1";
    const KIND: &'static str = "Note";
    type Spec = NoteSpec;
    type Status = NoteStatus;
}

/// Serves it.
pub struct Notes;

impl Reconciler for Notes {
    type Resource = Note;

    fn reconcile(request: Request<Note>) -> Result<Plan<Note>, Failure> {
        let served_by = concat!("v", env!("CARGO_PKG_VERSION_MAJOR")).to_owned();
        let status = NoteStatus { text: request.object.spec.text, served_by };
        Ok(Plan::new(status).condition(Condition::ready(Status::True, "Kept", "the text is kept")))
    }
}

/// See [`Description`].
pub fn describe() -> Description {
    let mut spec = json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}});
    match env!("CARGO_PKG_VERSION_MAJOR") {
        "2" => spec["properties"]["mood"] = json!({"type": "string"}),
        "3" => spec["properties"]["text"] = json!({"type": "string", "maxLength": 3}),
        _ => {}
    }
    let definition = support::definition::<Note>(&spec);
    Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).kind(&definition.to_string())
}

threeport_sdk::export!(describe, [Notes]);
