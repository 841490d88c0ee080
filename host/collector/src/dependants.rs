//! An object that is deleted with its dependants: those who need it go first.

use serde_json::Value;
use threeport_store::lifecycle::DEPENDANTS;
use threeport_store::{Demand, Error, Object};

use crate::collector::{Collector, Outcome};
use crate::events::Note;
use crate::sweep::{Why, some};

impl Collector {
    pub(crate) async fn dependants(&self, object: &Object, body: &Value) -> Result<Outcome, Error> {
        let users = self.users_of(std::slice::from_ref(object)).await?;
        if users.is_empty() {
            let unused = Demand::Unused { key: object.key.clone(), but: Vec::new() };
            return match self.let_go(object, body, DEPENDANTS, vec![unused]).await {
                Err(Error::InUse { .. }) => Ok(Outcome::Again),
                result => result.map(|()| Outcome::Settled),
            };
        }
        let note = format!("it needs {}, which is deleted with its dependants", object.key);
        // It goes with them: those that it needs itself do not wait for it.
        let all: Vec<Object> = users.into_iter().chain([object.clone()]).collect();
        let swept = self.sweep(&all, &Why { of: object, cause: "dependants", way: None, note: Some(note) }).await?;
        if !swept.deleted.is_empty() {
            let message = format!("deleted first, because they need it: {}", some(swept.deleted.iter()));
            self.tell(body, &Note::normal("DeletingDependants", message)).await;
        }
        Ok(if swept.again { Outcome::Again } else { Outcome::Waits })
    }
}
