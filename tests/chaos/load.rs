//! Clients that create, change and delete, each its own objects, each request through another host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::ask::{Answer, Clients};
use crate::record::{Content, Kind, Story, Written};

/// Objects that each writer keeps at a time.
const LIVE: usize = 12;

/// One client.
pub(crate) struct Writer {
    pub(crate) kind: Kind,
    pub(crate) number: usize,
    pub(crate) random: fastrand::Rng,
    pub(crate) clients: Clients,
    pub(crate) namespace: Arc<str>,
    /// The objects whose connections lead to targets that stay.
    pub(crate) targets: Vec<String>,
    pub(crate) pace: Duration,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) count: Arc<AtomicU64>,
    made: usize,
    written: Written,
}

impl Writer {
    /// One that writes at `pace` until it is told to stop.
    pub(crate) fn new(kind: Kind, number: usize, random: fastrand::Rng, clients: Clients, plan: &Plan) -> Self {
        Self {
            kind,
            number,
            random,
            clients,
            namespace: plan.namespace.clone(),
            targets: plan.targets.clone(),
            pace: plan.pace,
            stop: plan.stop.clone(),
            count: plan.count.clone(),
            made: 0,
            written: Written::default(),
        }
    }

    /// Writes, and gives the record.
    pub(crate) async fn run(mut self) -> Result<Written> {
        let mut clock = tokio::time::interval(self.pace);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::Relaxed) {
            clock.tick().await;
            self.step().await?;
        }
        Ok(self.written)
    }

    async fn step(&mut self) -> Result<()> {
        let live: Vec<usize> = (0..self.written.stories.len()).filter(|at| !self.written.stories[*at].over).collect();
        if live.len() < LIVE && (live.is_empty() || self.random.u8(0..4) == 0) {
            return self.create().await;
        }
        let Some(at) = self.random.choice(live) else { return Ok(()) };
        let story = &self.written.stories[at];
        if story.certain.is_none() || !story.maybe.is_empty() {
            return self.look(at).await;
        }
        match self.random.u8(0..10) {
            0 => self.delete(at).await,
            1 | 2 if self.kind != Kind::Puppet => self.replace(at).await,
            _ => self.change(at).await,
        }
    }

    fn content(&mut self, name: &str, write: usize) -> Content {
        let pieces = if self.kind == Kind::Puppet { self.random.usize(1..4) } else { 0 };
        let target = if self.kind == Kind::Puppet { self.random.choice(&self.targets).cloned() } else { None };
        Content { token: format!("{name}.{write}"), pieces, target }
    }

    async fn create(&mut self) -> Result<()> {
        let name = format!("{}-{}-{}", self.kind.plural(), self.number, self.made);
        self.made += 1;
        let content = self.content(&name, 0);
        let mut body = content.body(self.kind, &self.namespace, &name);
        body["apiVersion"] = self.kind.api_version().into();
        body["kind"] = self.kind.name().into();
        body["metadata"] = json!({"name": name});
        let mut story = Story::new(self.kind, name);
        story.tokens.insert(content.token.clone());
        let path = self.kind.path(&self.namespace);
        let answer = self.clients.ask("POST", &path, "application/json", Some(&body)).await?;
        match answer {
            Answer::Done(made) => {
                story.uid = made.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
                story.acknowledge(Some(content), version(&made), "create");
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            Answer::Refused(code, why) => {
                self.written.refused += 1;
                story.over = true;
                // The name is new: nothing that it says is in the way can be.
                if code == 409 {
                    self.written.strange.push(format!("create of {}: {why}", story.name));
                }
            }
            Answer::Unknown => {
                self.written.undecided += 1;
                story.maybe.push(Some(content));
            }
        }
        self.written.stories.push(story);
        Ok(())
    }

    /// A patch that holds only if the object is as the writer believes, so that one that arrives late does nothing.
    async fn change(&mut self, at: usize) -> Result<()> {
        let (name, count) = (self.written.stories[at].name.clone(), self.written.stories[at].tokens.len());
        let mut content = self.content(&name, count);
        let story = &mut self.written.stories[at];
        let before = story.certain.as_ref().context("it is there")?;
        // An object stays on its target.
        content.target.clone_from(&before.target);
        let mut patch = vec![
            json!({"op": "test", "path": self.kind.token_path(), "value": before.token}),
            json!({"op": "replace", "path": self.kind.token_path(), "value": content.token}),
        ];
        if self.kind == Kind::Puppet {
            patch.push(
                json!({"op": "replace", "path": "/spec/manifests", "value": content.manifests(&self.namespace, &name)}),
            );
        }
        story.tokens.insert(content.token.clone());
        let path = format!("{}/{name}", self.kind.path(&self.namespace));
        let body = Value::Array(patch);
        let answer = self.clients.ask("PATCH", &path, "application/json-patch+json", Some(&body)).await?;
        self.wrote(at, content, answer, "change");
        Ok(())
    }

    /// Read, and written as a whole, with the resourceVersion that was read.
    async fn replace(&mut self, at: usize) -> Result<()> {
        let (name, count) = (self.written.stories[at].name.clone(), self.written.stories[at].tokens.len());
        let content = self.content(&name, count);
        let path = format!("{}/{name}", self.kind.path(&self.namespace));
        let Answer::Done(mut body) = self.clients.ask("GET", &path, "application/json", None).await? else {
            return Ok(());
        };
        for (field, value) in content.body(self.kind, &self.namespace, &name).as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        self.written.stories[at].tokens.insert(content.token.clone());
        let answer = self.clients.ask("PUT", &path, "application/json", Some(&body)).await?;
        self.wrote(at, content, answer, "replace");
        Ok(())
    }

    fn wrote(&mut self, at: usize, content: Content, answer: Answer, verb: &'static str) {
        let story = &mut self.written.stories[at];
        match answer {
            Answer::Done(now) => {
                story.acknowledge(Some(content), version(&now), verb);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            // Written by somebody else meanwhile (its status is), or the host that answers lags behind.
            Answer::Refused(404 | 409 | 422, _) => self.written.refused += 1,
            Answer::Refused(code, why) => {
                self.written.refused += 1;
                if code != 429 {
                    self.written.strange.push(format!("{verb} of {}: {code} {why}", story.name));
                }
            }
            Answer::Unknown => {
                self.written.undecided += 1;
                story.maybe.push(Some(content));
            }
        }
    }

    async fn delete(&mut self, at: usize) -> Result<()> {
        let story = &mut self.written.stories[at];
        let Some(uid) = story.uid.clone() else { return Ok(()) };
        let path = format!("{}/{}", self.kind.path(&self.namespace), story.name);
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
        let answer = self.clients.ask("DELETE", &path, "application/json", Some(&body)).await?;
        let story = &mut self.written.stories[at];
        match answer {
            Answer::Done(_) => {
                story.acknowledge(None, None, "delete");
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            Answer::Refused(..) => self.written.refused += 1,
            Answer::Unknown => {
                self.written.undecided += 1;
                story.maybe.push(None);
                story.over = true;
            }
        }
        Ok(())
    }

    /// What became of a write that nobody acknowledged.
    async fn look(&mut self, at: usize) -> Result<()> {
        let story = &mut self.written.stories[at];
        let path = format!("{}/{}", self.kind.path(&self.namespace), story.name);
        match self.clients.ask("GET", &path, "application/json", None).await? {
            Answer::Done(found) => {
                let token = found.pointer(self.kind.token_path()).and_then(Value::as_str).unwrap_or_default();
                if !story.tokens.contains(token) {
                    self.written.strange.push(format!("{} holds {token:?}, which nobody wrote", story.name));
                }
                story.uid = found.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
                story.seen(token);
                // It did not win so far, and cannot win once something else is written.
                if story.certain.as_ref().is_some_and(|content| content.token == token) && !story.maybe.is_empty() {
                    return self.change(at).await;
                }
            }
            Answer::Refused(404, _) if story.certain.is_none() => {
                story.looks += 1;
                // It may arrive late: the name is left alone.
                story.over = story.looks > 5;
            }
            Answer::Refused(..) | Answer::Unknown => {}
        }
        Ok(())
    }
}

/// What all writers are told.
pub(crate) struct Plan {
    pub(crate) namespace: Arc<str>,
    pub(crate) targets: Vec<String>,
    pub(crate) pace: Duration,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) count: Arc<AtomicU64>,
}

/// An object's resourceVersion.
pub(crate) fn version(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}
