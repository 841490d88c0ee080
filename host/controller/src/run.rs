//! One run for an object of a plugin's kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use threeport_kube::{Owner, WatchScope};
use threeport_store::{Claim, InventoryEntry, lifecycle};
use threeport_wasm::{Condition, Entry, Failure, Grants, Next, ObjectRef, Plan, Plugin};
use tracing::Instrument as _;

use crate::abandon::{self, Abandoned};
use crate::act::{Actor, Outcome};
use crate::backoff::jittered;
use crate::capabilities::Reader;
use crate::carried::{Carried, target_name};
use crate::conditions::{self, Claimed, READY, RECONCILING, STALLED};
use crate::events::Note;
use crate::follow;
use crate::guard;
use crate::host::Host;
use crate::kinds::Kind;
use crate::lease::Lease;
use crate::leave;
use crate::merged::{self, Merged};
use crate::meters::{self, Part};
use crate::observe::Reach;
use crate::pause;
use crate::plan::{self, Refused};
use crate::references;
use crate::report::{self, Report};
use crate::request::{self, Seen, Sight};
use crate::scope::Scope;
use crate::trouble::{BACKSTOP, Pace, Stop, Trouble};
use crate::users::{self, Holders};
use crate::wishes::{Wishes, abandoned};

/// After something was applied: how long until it is looked at again if no watch brings us back earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The same while something is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// How long until it is looked again for users that nobody tells of.
const LOOK_FOR_USERS: Duration = Duration::from_secs(2);

/// One run's constants.
struct Run<'a> {
    host: &'a Host,
    claim: &'a Claim,
    lease: &'a Lease,
    kind: &'a Kind,
    body: &'a Value,
    carried: Carried,
    deleting: bool,
    own: String,
    wishes: Wishes,
    abandoned: Abandoned,
}

/// A run for an object of a plugin's kind.
pub(crate) async fn run(host: &Host, claim: &Claim, lease: &Lease, body: &Value) -> Result<Report, Stop> {
    if let Some(report) = pause::held(host, claim, body).await? {
        return Ok(report);
    }
    let deleting = request::deleting(body);
    if deleting && let Some(report) = before_cleanup(host, claim, body).await? {
        return Ok(report);
    }
    let served = host.kinds.get(&claim.object.key.resource);
    if served.is_none() && follow::lags(host, &claim.object.key.resource).await? {
        // Whoever has the plugin goes on; this host claims such objects again when it has it, too.
        host.store.release(claim).await?;
        return Err(Stop::LeaseLost);
    }
    let plugin = served.as_ref().and_then(|kind| host.serving.get(&kind.plugin));
    let (Some(kind), Some((plugin, grants))) = (served, plugin) else {
        let abandon = abandoned(body).unwrap_or(false);
        if deleting && (claim.inventory.is_empty() || abandon) {
            let mut notes = abandon::notes(&claim.inventory);
            notes.extend(leave::own(host, claim, &own_name(body), abandon).await?);
            return Ok(Report::finished(notes));
        }
        let message = format!(
            "no plugin is loaded that serves {}; push one with `threeport plugin push`",
            claim.object.key.resource
        );
        return Err(
            Trouble { pace: Pace::Within(host.config.resync), ..Trouble::unknown("PluginNotLoaded", message) }.into()
        );
    };
    host.kinds.learn(&host.store, &kind.references).await?;
    match merged::resolve(host, claim, &kind, body).await? {
        Merged::Itself => reconcile(host, claim, lease, &kind, plugin, &grants, body, body).await,
        Merged::Ends(report) => Ok(report),
        Merged::Whole(whole, said) => {
            let mut report = match reconcile(host, claim, lease, &kind, plugin, &grants, &whole, body).await {
                Err(Stop::Trouble(trouble)) => Report::trouble(&trouble),
                ended => ended?,
            };
            if !report.finished {
                report.claims.push(said);
            }
            Ok(report)
        }
    }
}

/// A run for an object with its whole spec; `stored` is as its user wrote it.
#[expect(clippy::too_many_arguments, reason = "what a run begins with")]
async fn reconcile(
    host: &Host,
    claim: &Claim,
    lease: &Lease,
    kind: &Kind,
    plugin: Arc<Plugin>,
    grants: &Arc<Grants>,
    body: &Value,
    stored: &Value,
) -> Result<Report, Stop> {
    let deleting = request::deleting(body);
    if !deleting {
        references::keep(host, claim, kind, body, stored).await?;
    }
    let namespace = claim.object.key.namespace.as_deref();
    let own = own_name(body);
    let mut scope = Scope::new(&kind.plugin, grants, namespace, own.clone());
    let found = match request::resolve(host, kind, body).await? {
        Ok(found) => found,
        Err(bad) => return Err(Trouble::stalled("ReferenceInvalid", bad.to_string()).into()),
    };
    referred(&found).for_each(|target| scope.refer(target));
    let targets = targets(claim, &found);
    allow(host, &mut scope, &targets).await?;
    let carried = Carried::read(&claim.carried);
    let wishes = Wishes::of(body)?;
    let inventory: &[InventoryEntry] = if deleting { &claim.inventory } else { &[] };
    let abandoned = Abandoned::of(host, deleting && wishes.abandon, inventory).await?;
    let run = Run { host, claim, lease, kind, body, carried, deleting, own, wishes, abandoned };
    let resolved = references::resolved(&found, body);
    let mut report = run.go(plugin, &scope, found).await?;
    if !report.claims.is_empty() && !deleting {
        report.claims.extend(resolved);
    }
    if report.finished {
        report.notes.extend(leave::own(host, claim, &run.own, run.abandoned.all).await?);
        leave::targets(host, claim, &scope, targets).await;
    }
    Ok(report)
}

/// The name of the target that the object itself is, if it publishes a connection.
pub(crate) fn own_name(body: &Value) -> String {
    target_name(&request::reference(body))
}

/// The targets that an object refers to.
fn referred(found: &[request::Found]) -> impl Iterator<Item = &ObjectRef> {
    found.iter().filter(|found| found.role == "target").flat_map(|found| &found.references)
}

/// The targets that an object has to do with.
fn targets(claim: &Claim, found: &[request::Found]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = referred(found).map(target_name).collect();
    names.extend(claim.inventory.iter().map(|entry| entry.target.clone()));
    names
}

/// Finds out what the object's namespace may do on each target that the object has to do with.
async fn allow(host: &Host, scope: &mut Scope, targets: &BTreeSet<String>) -> Result<(), Stop> {
    for name in targets {
        if name == scope.own() {
            continue;
        }
        let access = host.targets.access(name, scope.namespace()).await;
        if let Some(access) = access.map_err(|error| error.trouble())? {
            scope.may(name.clone(), access);
        }
    }
    Ok(())
}

/// What holds a cleanup up, or makes it needless.
async fn before_cleanup(host: &Host, claim: &Claim, body: &Value) -> Result<Option<Report>, Stop> {
    let finalizers = body["metadata"]["finalizers"].as_array();
    if !finalizers.is_some_and(|all| all.iter().any(|one| one == lifecycle::FINALIZER)) {
        // Ours is off already: others hold the object, and there is nothing left to do.
        return Ok(Some(Report::finished(Vec::new())));
    }
    let Holders { names, told } = users::holding(host, claim).await?;
    if names.is_empty() {
        return Ok(None);
    }
    let users = names.join(", ");
    let message = if lifecycle::has_finalizer(body, lifecycle::DEPENDANTS) {
        format!("those who need it are deleted first: {users}")
    } else {
        format!("it is used by {users}; delete them first")
    };
    let waiting = Trouble::waiting("InUse", message);
    let trouble = if told { waiting } else { Trouble { pace: Pace::Within(LOOK_FOR_USERS), ..waiting } };
    Ok(Some(Report::trouble(&trouble)))
}

impl Run<'_> {
    fn took(&self, part: Part, began: Instant) {
        meters::part(self.host, &self.claim.object.key.resource, part, began.elapsed());
    }

    async fn go(&self, plugin: Arc<Plugin>, scope: &Scope, found: Vec<request::Found>) -> Result<Report, Stop> {
        let mut reach = Reach::new(self.host, &self.own, self.carried.connection.clone(), scope);
        let began = Instant::now();
        let seen = reach.observe(&self.claim.inventory).instrument(tracing::debug_span!("observe")).await?;
        self.took(Part::Observe, began);
        let away = seen.iter().find_map(|seen| match &seen.sight {
            Sight::Away(trouble) if scope.allowed(&seen.entry.target) => Some(trouble.clone()),
            _ => None,
        });
        let given_up = |seen: &Seen| matches!(seen.sight, Sight::Away(_)) && self.abandoned.covers(&seen.entry.target);
        if self.abandoned.all || seen.iter().any(given_up) {
            // What the plugin would say of a target that is gone for good is of no use: all that can be removed is.
            let report = self.accept(&plugin, scope, &mut reach, seen, plan::nothing()).await;
            self.watch(&mut reach, report.as_ref().ok()).await;
            return report;
        }
        let reason = request::reason(self.claim, &self.carried, self.deleting, &plugin.digest);
        let span = tracing::Span::current();
        span.record("reason", reason);
        span.record("generation", conditions::generation(self.body));
        let request =
            request::request(self.claim, self.body.clone(), found, &seen, &self.carried, reason, &self.host.redactor);
        let reader = Reader {
            store: self.host.store.clone(),
            kinds: self.host.kinds.clone(),
            specs: self.host.specs(),
            targets: self.host.targets.clone(),
            scope: scope.clone(),
            redactor: self.host.redactor.clone(),
            own: self.carried.connection.clone(),
            object: self.claim.object.key.to_string(),
            handles: Mutex::new(HashMap::new()),
        };
        let entry = if self.deleting { Entry::Cleanup } else { Entry::Reconcile };
        let began = Instant::now();
        let span = tracing::debug_span!("plugin", digest = plugin.digest.as_str(), entry = ?entry);
        let answer = plugin.run(entry, request, Arc::new(reader)).instrument(span).await;
        self.host.counters.planned(began.elapsed());
        self.took(Part::Plugin, began);
        self.lease.check()?;
        let answered = match answer {
            Err(error) if self.deleting && self.claim.inventory.is_empty() => {
                // Nothing was left on a target: a broken plugin must not hold the object for ever.
                return Ok(Report::finished(vec![Note::warning(error.reason(), error.to_string())]));
            }
            Err(error) => {
                return Err(Trouble { stalled: true, ..Trouble::again(error.reason(), error.to_string()) }.into());
            }
            Ok(answered) => answered,
        };
        let report = match answered {
            Ok(plan) => self.accept(&plugin, scope, &mut reach, seen, plan).await,
            Err(failure) if self.deleting && self.claim.inventory.is_empty() => {
                let problem = failure.problem;
                let reason = if reason_like(&problem.code) { problem.code.as_str() } else { "PluginFailed" };
                Ok(Report::finished(vec![Note::warning(reason, problem.message)]))
            }
            Err(failure) => match away {
                // What a plugin cannot do without the object's own target says less than that this is away.
                Some(away) => Ok(Report::trouble(&away)),
                None => self.failed(&plugin, scope, failure).map_err(|refused| refusal(&refused).into()),
            },
        };
        self.watch(&mut reach, report.as_ref().ok()).await;
        report
    }

    /// A plan is checked, then carried out, then judged by what was seen.
    async fn accept(
        &self,
        plugin: &Plugin,
        scope: &Scope,
        reach: &mut Reach<'_>,
        seen: Vec<Seen>,
        plan: Plan,
    ) -> Result<Report, Stop> {
        let checked = match self.check(&plan, scope) {
            Ok(checked) => checked,
            // Nothing was left on a target: a plan that cannot be carried out must not hold the object for ever.
            Err(refused) if self.deleting && self.claim.inventory.is_empty() => {
                return Ok(Report::finished(vec![Note::warning(refused.reason(), refused.to_string())]));
            }
            Err(refused) => return Err(refusal(&refused).into()),
        };
        let owner = Owner {
            uid: self.claim.object.uid.to_string(),
            name: format!(
                "{}.{}/{}/{}",
                self.kind.kind,
                self.kind.resource.group,
                self.claim.object.key.namespace.as_deref().unwrap_or_default(),
                self.claim.object.key.name
            ),
            epoch: self.claim.epoch,
        };
        // What somebody asked for by a changed spec, or said to be right, is done.
        let asked =
            self.deleting || self.wishes.allow_prune || self.carried.settled != Some(conditions::generation(self.body));
        let same_plugin = plugin.digest == self.carried.plugin;
        if !asked && let Some(held) = guard::held(&checked.items, &seen, same_plugin) {
            return Err(held.into());
        }
        let mut actor = Actor {
            store: &self.host.store,
            counters: &self.host.counters,
            claim: self.claim,
            lease: self.lease,
            scope,
            reach,
            owner,
            redactor: &self.host.redactor,
            wishes: &self.wishes,
            deleting: self.deleting,
            abandoned: &self.abandoned,
        };
        let began = Instant::now();
        let outcome = actor.carry_out(&checked.items, seen).await?;
        self.took(Part::Apply, began);
        if self.deleting && checked.items.is_empty() && outcome.inventory.is_empty() && outcome.trouble.is_none() {
            return Ok(Report::finished(outcome.notes));
        }
        let settled = guard::settled(&checked.items, &outcome.inventory);
        let carried = Carried {
            memory: plan.memory.clone(),
            outputs: plan.outputs.iter().cloned().collect::<BTreeMap<_, _>>(),
            connection: checked.link,
            watches: checked.watches,
            plugin: plugin.digest.clone(),
            requeue: matches!(plan.next, Next::RequeueAfterMs(_)),
            rooted: self.carried.rooted,
            settled: if settled { Some(conditions::generation(self.body)) } else { self.carried.settled },
        };
        let mut report = self.judge(&plan, &outcome);
        // Where nothing can be said, the last known status stays.
        report.fields = Some(checked.fields).filter(|_| !report.keep_others);
        report.notes = plan
            .events
            .iter()
            .map(|event| Note {
                warning: event.kind == "Warning",
                reason: event.reason.clone(),
                message: event.message.clone(),
            })
            .chain(outcome.notes)
            .collect();
        report.raise_epoch = outcome.raise_epoch;
        report.next = Some("requeue").filter(|_| matches!(plan.next, Next::RequeueAfterMs(_)) && !outcome.changed);
        report.inventory = changed(&self.claim.inventory, outcome.inventory);
        self.carry(&mut report, carried);
        Ok(report)
    }

    fn check(&self, plan: &Plan, scope: &Scope) -> Result<Checked, Refused> {
        plan::answer(&plan.conditions, plan.memory.as_ref(), &plan.outputs, plan.events.len())?;
        let link = plan::link(plan, self.claim.object.key.namespace.as_deref())?;
        Ok(Checked {
            items: plan::items(plan, scope, &self.host.redactor)?,
            // An object that is cleaned up stays reachable for what it still has to remove.
            link: if self.deleting { link.or_else(|| self.carried.connection.clone()) } else { link },
            watches: plan::watches(&plan.watches, scope)?,
            fields: plan::status(&plan.status)?,
        })
    }

    /// Ready is the plugin's claim AND what was observed after the last apply.
    fn judge(&self, plan: &Plan, outcome: &Outcome) -> Report {
        let mut claims: Vec<Claimed> = plan.conditions.iter().map(claimed).collect();
        let claim = claims.iter().find(|claim| claim.kind == READY).cloned();
        let pace = self.pace(plan, outcome);
        if let Some(trouble) = self.trouble(outcome) {
            if trouble.unknown {
                return Report { pace, ..Report::trouble(trouble) };
            }
            claims.extend(report::claims(trouble));
            return Report::new(claims, pace);
        }
        let claim = claim.unwrap_or_else(|| Claimed::new(READY, "True", "Reconciled", ""));
        if self.deleting {
            let message = outcome.waits.clone().unwrap_or_else(|| "removing what it made".to_owned());
            claims.push(Claimed::new(READY, "False", "Deleting", &message));
            claims.push(Claimed::new(RECONCILING, "True", "Deleting", message));
            return Report::new(claims, pace);
        }
        if outcome.changed || outcome.waits.is_some() {
            let message = outcome.waits.clone().unwrap_or_else(|| "applied; waiting to see it healthy".to_owned());
            let (kind, reason) = if outcome.failed { (STALLED, "Failed") } else { (RECONCILING, "Progressing") };
            if claim.status == "True" {
                claims.push(Claimed::new(READY, "False", reason, &message));
            } else {
                claims.push(claim);
            }
            claims.push(Claimed::new(kind, "True", reason, message));
        } else {
            claims.push(claim);
            if let Some(left) = &outcome.left {
                claims.push(Claimed::new(RECONCILING, "True", &left.reason, &left.message));
            }
        }
        Report::new(claims, pace)
    }

    /// What is in the way. What is left on a target that is away is so only for an object that has to go.
    fn trouble<'a>(&self, outcome: &'a Outcome) -> Option<&'a Trouble> {
        outcome.trouble.as_ref().or(outcome.left.as_ref().filter(|_| self.deleting))
    }

    fn pace(&self, plan: &Plan, outcome: &Outcome) -> Pace {
        if let Some(trouble) = self.trouble(outcome) {
            return trouble.pace;
        }
        let host = if outcome.changed {
            LOOK_AGAIN
        } else if outcome.waits.is_some() {
            if self.deleting { Duration::from_secs(1) } else { ON_ITS_WAY }
        } else if outcome.left.is_some() {
            BACKSTOP
        } else {
            jittered(self.host.config.resync)
        };
        match plan.next {
            Next::AwaitChange => Pace::Within(host),
            Next::RequeueAfterMs(ms) => {
                Pace::Within(Duration::from_millis(ms).max(Duration::from_millis(100)).min(host))
            }
        }
    }

    /// No new plan: what runs is kept, what the plugin says is taken.
    fn failed(&self, plugin: &Plugin, scope: &Scope, failure: Failure) -> Result<Report, Refused> {
        plan::answer(&failure.conditions, failure.memory.as_ref(), &[], 0)?;
        if !failure.probes.is_empty() {
            return Err(Refused::Unsupported("probes".into()));
        }
        let watches = plan::watches(&failure.watches, scope)?;
        let problem = &failure.problem;
        let reason = if reason_like(&problem.code) { problem.code.clone() } else { "PluginFailed".to_owned() };
        let message = match &problem.field {
            Some(field) => format!("{field}: {}", problem.message),
            None => problem.message.clone(),
        };
        let trouble = match failure.kind.as_str() {
            "waiting-for" if reason == "NotConnected" => Trouble::waiting("WaitingForTarget", message),
            "waiting-for" => {
                let reason = if reason.starts_with("WaitingFor") { reason } else { format!("WaitingFor{reason}") };
                Trouble::waiting(&reason, message)
            }
            "transient" if matches!(reason.as_str(), "Unreachable" | "Timeout") => {
                Trouble::unknown("ClusterUnreachable", message)
            }
            "transient" => Trouble::again(&reason, message),
            "invalid" | "denied" | "terminal" => Trouble::stalled(&reason, message),
            other => return Err(Refused::Invalid(format!("its failure is of the unknown kind {other:?}"))),
        };
        let mut report = Report::trouble(&trouble);
        if let Some(after) = problem.retry_after_ms {
            report.pace = Pace::Within(Duration::from_millis(after).clamp(Duration::from_millis(100), BACKSTOP * 20));
        }
        let mut claims: Vec<Claimed> = failure.conditions.iter().map(claimed).collect();
        let own_word = claims.iter().any(|claim| claim.kind == READY && claim.status != "True");
        claims
            .extend(std::mem::take(&mut report.claims).into_iter().filter(|claim| !(own_word && claim.kind == READY)));
        report.claims = claims;
        report.fields = failure.status.as_deref().map(plan::status).transpose()?;
        let carried = Carried {
            memory: failure.memory.or_else(|| self.carried.memory.clone()),
            watches,
            plugin: plugin.digest.clone(),
            requeue: true,
            ..self.carried.clone()
        };
        self.carry(&mut report, carried);
        Ok(report)
    }

    fn carry(&self, report: &mut Report, mut carried: Carried) {
        if carried.connection.is_some() {
            let isolation = self.host.targets.identities.isolation(&self.claim.object.uid);
            carried.rooted |= matches!(isolation, Some(Ok(())));
            report.claims.extend(isolated(isolation, carried.rooted));
        }
        report.outward = carried.outputs != self.carried.outputs || carried.connection != self.carried.connection;
        if carried != self.carried {
            report.carried = Some(carried.write());
        }
    }

    /// From now on a change of what the object has on targets, or asked to watch, rings.
    async fn watch(&self, reach: &mut Reach<'_>, report: Option<&Report>) {
        let uid = &self.claim.object.uid;
        if report.is_some_and(|report| report.finished) {
            self.host.watches.replace(uid, Vec::new());
            self.host.watches.forget_target(&self.own);
            return;
        }
        let inventory = report.and_then(|report| report.inventory.as_ref()).unwrap_or(&self.claim.inventory);
        let carried = report.and_then(|report| report.carried.as_ref()).map(Carried::read);
        let watches = &carried.as_ref().unwrap_or(&self.carried).watches;
        // Drift is watched once for all tenants and with the connection itself: it only rings. What a plan asks for is watched as its tenant.
        let mut scopes: Vec<(String, WatchScope)> = inventory
            .iter()
            .map(|entry| (entry.target.clone(), WatchScope::owned(&entry.api_version, &entry.kind)))
            .collect();
        let tenant =
            format!("#{}/{}", self.kind.plugin, self.claim.object.key.namespace.as_deref().unwrap_or_default());
        scopes.extend(watches.iter().map(|watch| {
            let scope = WatchScope {
                api_version: watch.api_version.clone(),
                kind: watch.kind.clone(),
                namespace: watch.namespace.clone(),
                selector: watch.selector.clone(),
                fields: watch.fields.clone(),
            };
            (format!("{}{tenant}", watch.target), scope)
        }));
        let mut known = std::collections::HashSet::new();
        scopes.retain(|scope| known.insert(scope.clone()));
        let targets: BTreeSet<&String> = scopes.iter().map(|(target, _)| target).collect();
        for id in targets {
            let name = id.strip_suffix(&tenant).unwrap_or(id);
            // One that cannot be reached now is told when a run reaches it.
            if let Ok(connected) = reach.get(name).await {
                let client = if name == id { &connected.admin } else { &connected.target };
                self.host.watches.set_target(id, client);
            }
        }
        self.host.watches.replace(uid, scopes);
    }
}

/// A plan that may be carried out.
struct Checked {
    items: Vec<plan::Item>,
    link: Option<crate::carried::Link>,
    watches: Vec<crate::carried::WatchRecord>,
    fields: Map<String, Value>,
}

fn refusal(refused: &Refused) -> Trouble {
    Trouble::stalled(refused.reason(), refused.to_string())
}

fn claimed(condition: &Condition) -> Claimed {
    Claimed::new(&condition.kind, &condition.status, &condition.reason, &condition.message)
}

/// Whether the target enforces, too, what the host checks.
fn isolated(isolation: Option<Result<(), String>>, before: bool) -> Option<Claimed> {
    match isolation {
        Some(Err(why)) => {
            let message = format!(
                "the kubeconfig may not make ServiceAccounts and roles ({why}), so its own rights are used for all tenants: what they may do there is checked \
                 by this host only, and not by the cluster"
            );
            Some(Claimed::new("Isolated", "False", "NotPermitted", message))
        }
        None if !before => None,
        _ => {
            let message =
                "each plugin acts for each namespace with a ServiceAccount of its own, which may what both may";
            Some(Claimed::new("Isolated", "True", "Enforced", message))
        }
    }
}

/// UpperCamelCase, as a condition's reason has to be.
fn reason_like(code: &str) -> bool {
    code.starts_with(|first: char| first.is_ascii_uppercase()) && code.chars().all(|char| char.is_ascii_alphanumeric())
}

fn changed(before: &[InventoryEntry], mut now: Vec<InventoryEntry>) -> Option<Vec<InventoryEntry>> {
    let mut before = before.to_vec();
    crate::act::sort(&mut before);
    crate::act::sort(&mut now);
    (before != now).then_some(now)
}
