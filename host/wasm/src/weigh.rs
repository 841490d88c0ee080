//! How many bytes a value is on its way between host and guest. Strings and nothing else: what is fixed in size is bounded by the number of calls.

use crate::contract::types::{
    Child, Condition, Connection, Event, Failure, Manifest, Object, ObjectRef, Plan, Probe, Problem, Removal,
    Rendering, SecretIntent, Watch,
};
use crate::contract::{Listing, Page, Query};

pub(crate) trait Weigh {
    fn weigh(&self) -> usize;
}

impl Weigh for bool {
    fn weigh(&self) -> usize {
        1
    }
}
impl Weigh for String {
    fn weigh(&self) -> usize {
        self.len()
    }
}
impl<T: Weigh> Weigh for Option<T> {
    fn weigh(&self) -> usize {
        self.as_ref().map_or(0, Weigh::weigh)
    }
}
impl<T: Weigh> Weigh for Vec<T> {
    // Eight bytes for each, so that a million empty strings are not free.
    fn weigh(&self) -> usize {
        self.iter().map(|item| item.weigh() + 8).sum()
    }
}
impl<T: Weigh, E: Weigh> Weigh for Result<T, E> {
    fn weigh(&self) -> usize {
        match self {
            Ok(value) => value.weigh(),
            Err(error) => error.weigh(),
        }
    }
}
impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn weigh(&self) -> usize {
        self.0.weigh() + self.1.weigh()
    }
}
impl<A: Weigh, B: Weigh, C: Weigh> Weigh for (A, B, C) {
    fn weigh(&self) -> usize {
        self.0.weigh() + self.1.weigh() + self.2.weigh()
    }
}

macro_rules! weigh {
    ($($record:ident { $($field:ident),+ })+) => {
        $(impl Weigh for $record {
            fn weigh(&self) -> usize {
                0 $(+ self.$field.weigh())+
            }
        })+
    };
}

weigh! {
    ObjectRef { api_version, kind, namespace, name }
    Object { ref_, uid, resource_version, body }
    Problem { code, message, field, objects }
    Query { api_version, kind, namespace, labels, fields, token }
    Page { items, token }
    Listing { items, token }
    Condition { kind, status, reason, message }
    Event { kind, reason, message }
    Manifest { target, body, options, after, ignore, ready }
    Child { body }
    Rendering { engine, source, target, namespace, release, values, value_secrets }
    SecretIntent { destination, target, key, source, encoding, inputs }
    Removal { target, ref_, selector, why }
    Probe { name, target, kind, request, class, options }
    Watch { target, api_version, kind, namespace, selector, fields }
    Connection { secret, key, target, options }
    Plan {
        status, conditions, children, manifests, renderings, secrets, removals, outputs, output_secrets, connection, watches, probes, events, memory,
        extensions
    }
    Failure { kind, problem, status, conditions, watches, probes, memory, extensions }
}
