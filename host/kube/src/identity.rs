//! Identities on a target: made with the connection that we were given, used for everything that is done for a tenant.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::Request as HttpRequest;
use serde_json::{Value, json};

use crate::apply::Sending;
use crate::error::step;
use crate::rbac::{IDENTITY, Identity, PARTS, Rules, TARGET_UID, namespace};
use crate::transport::Token;
use crate::{Error, Reference, SYSTEM_NAMESPACE, Target};

/// Asked for; the target may give another.
const LIFETIME: Duration = Duration::from_secs(3600);
/// New rights are known to the target's authorizer this soon, or somebody has to look.
const IN_FORCE: Duration = Duration::from_secs(5);
const MANAGER: &str = "threeport";

/// An identity that is there.
pub struct Established {
    /// The target, as that identity.
    pub target: Target,
    /// The namespaces in which it has its rights.
    pub namespaces: BTreeSet<String>,
    /// Kinds that it may touch and that the target does not serve (yet): establish it again when that changes.
    pub unserved: bool,
    token: Token,
    renew: Instant,
    expires: Instant,
}

/// What was made for an identity.
struct Shape {
    rules: Rules,
    namespaces: BTreeSet<String>,
    unserved: bool,
}

impl Established {
    /// Makes the identity what it should be now; its connection stays the same one.
    pub async fn refresh(&mut self, admin: &Target, identity: &Identity) -> Result<(), Error> {
        let shape = admin.shape(identity).await?;
        // The account may have been removed and made anew: its earlier tokens are of no use then.
        self.renew = Instant::now();
        self.expires = self.renew;
        self.renew(admin, &identity.name).await?;
        self.target.in_force(&shape).await?;
        (self.namespaces, self.unserved) = (shape.namespaces, shape.unserved);
        Ok(())
    }

    /// Gives the identity a new token when two thirds of the time of its last are over. An error only when that one is over, too.
    pub async fn renew(&mut self, admin: &Target, name: &str) -> Result<(), Error> {
        if Instant::now() < self.renew {
            return Ok(());
        }
        match admin.token(name, &self.token).await {
            Ok(lifetime) => {
                self.renew = Instant::now() + lifetime * 2 / 3;
                self.expires = Instant::now() + lifetime;
                Ok(())
            }
            Err(_) if Instant::now() < self.expires => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Target {
    /// Makes an identity what it should be, whatever it was: account, roles and bindings in those of its namespaces that are there; what it had beyond goes.
    ///
    /// [`Error::Forbidden`]: the credentials of this connection may not make identities, or have fewer rights themselves.
    pub async fn establish(&self, identity: &Identity) -> Result<Established, Error> {
        let shape = self.shape(identity).await?;
        let token = Token::default();
        let lifetime = self.token(&identity.name, &token).await?;
        let target = self.with_token(&token)?;
        target.in_force(&shape).await?;
        let now = Instant::now();
        let Shape { namespaces, unserved, .. } = shape;
        Ok(Established { target, namespaces, unserved, token, renew: now + lifetime * 2 / 3, expires: now + lifetime })
    }

    /// Account, roles and bindings as they should be.
    async fn shape(&self, identity: &Identity) -> Result<Shape, Error> {
        self.ensure_namespace(SYSTEM_NAMESPACE, None, "identities that Threeport's plans are carried out with").await?;
        let (rules, unserved) = self.rules(&identity.permissions).await?;
        self.put(&identity.account()).await?;
        let mut namespaces = BTreeSet::new();
        let mut wanted = BTreeSet::from([Reference::of(&identity.account())]);
        for (place, rules) in &rules {
            if let Some(place) = place {
                if !self.has_namespace(place).await? {
                    continue;
                }
                namespaces.insert(place.clone());
            }
            for object in identity.role(place.as_deref(), rules) {
                match self.put(&object).await {
                    // Nothing can be done in a namespace that goes.
                    Err(Error::Terminating { .. }) => drop(place.as_ref().map(|place| namespaces.remove(place))),
                    put => put?,
                }
                wanted.insert(Reference::of(&object));
            }
        }
        for old in self.labelled(&format!("{IDENTITY}={}", identity.name)).await? {
            if !wanted.contains(&old) {
                self.drop_object(&old).await?;
            }
        }
        Ok(Shape { rules, namespaces, unserved })
    }

    /// Makes a namespace for a tenant if it is not there. True: it was made now.
    pub async fn ensure_namespace(&self, name: &str, target_uid: Option<&str>, purpose: &str) -> Result<bool, Error> {
        if self.has_namespace(name).await? {
            return Ok(false);
        }
        self.put(&namespace(name, target_uid, purpose)).await?;
        Ok(true)
    }

    /// Removes an identity.
    pub async fn retire(&self, name: &str) -> Result<(), Error> {
        for part in self.labelled(&format!("{IDENTITY}={name}")).await? {
            self.drop_object(&part).await?;
        }
        Ok(())
    }

    /// Removes everything that was made for a target: identities, and namespaces as [`Target::clear_namespaces`] does.
    pub async fn uproot(&self, target_uid: &str) -> Result<(), Error> {
        for part in self.labelled(&format!("{TARGET_UID}={target_uid}")).await? {
            self.drop_object(&part).await?;
        }
        self.clear_namespaces(target_uid, |_| true).await?;
        let ours = Reference::of(&namespace(SYSTEM_NAMESPACE, None, ""));
        let made =
            self.get(&ours).await?.is_some_and(|live| live["metadata"]["labels"][crate::MANAGED_BY] == "threeport");
        // Another control plane may have identities here, too.
        if made && self.is_empty(SYSTEM_NAMESPACE).await? {
            self.drop_object(&ours).await?;
        }
        Ok(())
    }

    /// Removes those of the namespaces made for a target's tenants that are asked for and have nothing in them any more.
    pub async fn clear_namespaces(&self, target_uid: &str, asked: impl Fn(&str) -> bool) -> Result<(), Error> {
        let made = self.list("v1", "Namespace", None, Some(&format!("{TARGET_UID}={target_uid}")), 0, None).await?.0;
        for reference in made.iter().map(Reference::of).filter(|reference| asked(&reference.name)) {
            if self.is_empty(&reference.name).await? {
                self.drop_object(&reference).await?;
            }
        }
        Ok(())
    }

    async fn has_namespace(&self, name: &str) -> Result<bool, Error> {
        let reference =
            Reference { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() };
        Ok(self.get(&reference).await?.is_some())
    }

    /// Nothing but what every namespace gets by itself.
    async fn is_empty(&self, namespace: &str) -> Result<bool, Error> {
        for api_version in self.group_versions().await? {
            let kinds = self.kinds("look into the namespace", &api_version).await?;
            for (kind, _) in kinds.iter().filter(|(_, served)| served.namespaced && served.listable) {
                // Made by the cluster about what is, or was, there.
                if matches!(kind.as_str(), "Event" | "Lease" | "Endpoints" | "EndpointSlice" | "PodMetrics") {
                    continue;
                }
                let items = self.list(&api_version, kind, Some(namespace), None, 0, None).await?.0;
                let own = |item: &Value| {
                    matches!(
                        (kind.as_str(), item["metadata"]["name"].as_str()),
                        ("ServiceAccount", Some("default")) | ("ConfigMap", Some("kube-root-ca.crt"))
                    )
                };
                let goes = |item: &Value| item["metadata"].get("deletionTimestamp").is_some();
                if items.iter().any(|item| !own(item) && !goes(item)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A token for an account, put where it is used. Gives how long it is good for.
    async fn token(&self, account: &str, token: &Token) -> Result<Duration, Error> {
        let reference = Reference {
            api_version: "v1".into(),
            kind: "ServiceAccount".into(),
            namespace: Some(SYSTEM_NAMESPACE.into()),
            name: account.into(),
        };
        let step = step("get a token for", &reference);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": LIFETIME.as_secs()}});
        let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{account}/token");
        let answer: Value = self.post(&step, &reference, &path, &body).await?;
        let unread = || Error::Server { step: step.clone(), code: 0, why: "its answer holds no token".into() };
        if !answer["status"]["token"].as_str().is_some_and(|text| token.set(text)) {
            return Err(unread());
        }
        let until = answer["status"]["expirationTimestamp"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let left = until.and_then(|until| Duration::try_from(until - jiff::Timestamp::now()).ok());
        // Clocks differ.
        Ok(left.unwrap_or(LIFETIME).clamp(Duration::from_secs(60), LIFETIME))
    }

    /// Waits until the target's authorizer knows this identity's rights: it learns of new roles a moment after they are stored.
    async fn in_force(&self, shape: &Shape) -> Result<(), Error> {
        let Shape { rules, namespaces, .. } = shape;
        let step = "wait for the rights of an identity";
        let places = rules.iter().filter(|(place, _)| place.as_ref().is_none_or(|place| namespaces.contains(place)));
        for (place, rules) in places {
            let Some(rule) = rules.last() else { continue };
            let attributes = json!({"namespace": place, "group": rule.group, "resource": rule.resources.first(),
                "verb": rule.verbs.first(), "name": rule.names.as_ref().and_then(|names| names.first())});
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}});
            let start = Instant::now();
            loop {
                let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
                let answer = self.post(step, &Reference::of(&review), path, &review).await;
                match answer {
                    Ok(answer) if answer["status"]["allowed"] == true => break,
                    // Nor is a new account known at once.
                    Ok(_) | Err(Error::Unauthorized { .. }) if start.elapsed() < IN_FORCE => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Ok(_) => {
                        let why = "its authorizer does not know the roles that were made".to_owned();
                        return Err(Error::Server { step: step.into(), code: 0, why });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn post(&self, step: &str, reference: &Reference, path: &str, body: &Value) -> Result<Value, Error> {
        let request = HttpRequest::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .map_err(kube::Error::HttpError);
        let answer = self.ask(step, reference, request).await?;
        self.parse(step, reference, answer.map_err(|error| self.told(step, reference, error))?)
    }

    /// Applies an object that is ours alone.
    async fn put(&self, object: &Value) -> Result<(), Error> {
        let reference = Reference::of(object);
        let step = step("make", &reference);
        let served = self.resolve(&step, &reference).await?;
        let sending = Sending { step: &step, reference: &reference, served: &served, manager: MANAGER };
        self.patch(&sending, object, true, false).await.map(|_| ())
    }

    async fn drop_object(&self, reference: &Reference) -> Result<(), Error> {
        let step = step("remove", reference);
        let served = self.resolve(&step, reference).await?;
        match self.get_served(&step, reference, &served).await? {
            Some(live) => self.delete(&step, reference, &served, &live).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// The parts of identities that carry such labels.
    async fn labelled(&self, labels: &str) -> Result<Vec<Reference>, Error> {
        let mut found = Vec::new();
        for (api_version, kind) in PARTS {
            let mut token = None;
            loop {
                let page = self.list(api_version, kind, None, Some(labels), 500, token.as_deref()).await?;
                found.extend(page.0.iter().map(Reference::of));
                token = page.1;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }
}
