//! Tokens of ServiceAccounts: JSON Web Tokens that this server signs, with the claims that Kubernetes puts into its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use threeport_store::{Key, Object, Resource, Store};

use super::keys::{ALGORITHM, TokenKeys};
use super::rbac::quoted;
use super::user::{User, service_account_name};

/// Tokens whose signature was found good. Checking one takes a hundred times as long as looking it up.
const REMEMBERED: usize = 4096;
/// Which token a user came in with.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub aud: Vec<String>,
    /// None: as long as what it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    pub nbf: i64,
    pub sub: String,
}

/// To what a token is bound: it is of no use without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub namespace: String,
    pub serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
}

/// An object that was deleted and made again is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub name: String,
    pub uid: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// Makes and checks tokens.
pub(crate) struct Tokens {
    keys: Arc<TokenKeys>,
    issuer: String,
    /// By digest of the token.
    good: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Tokens {
    pub(super) fn new(keys: Arc<TokenKeys>, issuer: String) -> Self {
        Self { keys, issuer, good: Mutex::new(HashMap::new()) }
    }

    /// Who tokens say that they are from, and for whom they are if nothing else is asked for.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Makes a token. Times are seconds of the epoch.
    pub(super) fn make(
        &self,
        account: &Object,
        secret: Option<Named>,
        audiences: &[String],
        now: i64,
        expires: Option<i64>,
    ) -> Option<String> {
        let namespace = account.key.namespace.as_deref().unwrap_or_default();
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: expires,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            bound: Bound {
                namespace: namespace.to_owned(),
                serviceaccount: Named { name: account.key.name.to_string(), uid: account.uid.to_string() },
                secret,
            },
            nbf: now,
            sub: service_account_name(namespace, &account.key.name),
        };
        self.sign(&claims)
    }

    fn sign(&self, claims: &Claims) -> Option<String> {
        let header = json!({"alg": ALGORITHM, "kid": self.keys.current()}).to_string();
        let claims = serde_json::to_string(claims).ok()?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.keys.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }

    /// Who holds this token, if it is one of ours; and for which of the `audiences` it is good.
    ///
    /// # Errors
    /// A sentence, if it is ours and of no use (any more).
    pub(super) async fn user(
        &self,
        store: &Store,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Option<Result<(User, Vec<String>), String>> {
        let claims = self.claims(token)?;
        Some(self.check(store, token, &claims, audiences, now).await)
    }

    async fn check(
        &self,
        store: &Store,
        token: &str,
        claims: &Claims,
        audiences: &[String],
        now: i64,
    ) -> Result<(User, Vec<String>), String> {
        in_time(claims, now)?;
        let good: Vec<String> = audiences.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        if good.is_empty() {
            let (theirs, wanted) = (quoted(&claims.aud), quoted(audiences));
            return Err(format!("token audiences {theirs} is invalid for the target audiences {wanted}"));
        }
        let Bound { namespace, serviceaccount, secret } = &claims.bound;
        let there = |plural: &str, named: &Named| Key {
            resource: Resource::new("", plural),
            namespace: Some(namespace.as_str().into()),
            name: named.name.as_str().into(),
        };
        let key = there("serviceaccounts", serviceaccount);
        let account = store.get(&key).await.map_err(|error| error.to_string())?;
        let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", serviceaccount.name))?;
        if *account.uid != *serviceaccount.uid {
            return Err(format!("service account UID ({}) does not match claim ({})", account.uid, serviceaccount.uid));
        }
        if Content::of(&account)?.ended(now) {
            return Err(format!("service account {namespace}/{} has been deleted", serviceaccount.name));
        }
        if let Some(secret) = secret {
            let invalidated = || "service account token has been invalidated".to_owned();
            let bound = store.get(&there("secrets", secret)).await.map_err(|error| error.to_string())?;
            let bound = bound.filter(|bound| *bound.uid == *secret.uid).ok_or_else(invalidated)?;
            let content = Content::of(&bound)?;
            // What has no time of its own is good as long as the Secret says it: that is how it is taken back.
            if content.ended(now) || (claims.exp.is_none() && !content.says(token)) {
                return Err(invalidated());
            }
        }
        let mut user = User::service_account(namespace, &serviceaccount.name, &serviceaccount.uid);
        user.extra.insert(CREDENTIAL.to_owned(), vec![format!("JTI={}", claims.jti)]);
        Ok((user, good))
    }

    /// The claims of a token that this server signed.
    fn claims(&self, token: &str) -> Option<Arc<Claims>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.good.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if known.is_some() {
            return known;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, body) = message.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        // The algorithm is ours to choose, not the token's.
        if header.alg != ALGORITHM || !self.keys.verifies(&header.kid, message.as_bytes(), &decode(signature)?) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&decode(body)?).ok()?;
        if claims.iss != self.issuer {
            return None;
        }
        let claims = Arc::new(claims);
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= REMEMBERED {
            good.clear();
        }
        good.insert(digest, claims.clone());
        Some(claims)
    }

    /// `/.well-known/openid-configuration`
    pub(crate) fn configuration(&self, address: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        })
    }

    /// `/openid/v1/jwks`
    pub(crate) fn key_set(&self) -> Value {
        self.keys.set()
    }
}

/// Clocks of several hosts may differ by this many seconds.
const LEEWAY: i64 = 60;

/// What counts of an account or a Secret for the tokens that are bound to it.
#[derive(Deserialize)]
struct Content {
    metadata: Lifetime,
    #[serde(default)]
    data: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifetime {
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
}

impl Content {
    fn of(object: &Object) -> Result<Self, String> {
        serde_json::from_slice(&object.body).map_err(|error| format!("{} cannot be read: {error}", object.key))
    }

    /// Its deletion was asked for, and the time for it is over.
    fn ended(&self, now: i64) -> bool {
        self.metadata.deletion_timestamp.is_some_and(|at| at.as_second().saturating_add(LEEWAY) < now)
    }

    /// A Secret has this token in it.
    fn says(&self, token: &str) -> bool {
        let said = self.data.as_ref().and_then(|data| data.get("token"));
        said.and_then(|said| STANDARD.decode(said).ok()).is_some_and(|said| said == token.as_bytes())
    }
}

fn in_time(claims: &Claims, now: i64) -> Result<(), String> {
    if claims.exp.is_some_and(|exp| now >= exp) {
        return Err("service account token has expired".to_owned());
    }
    if now + LEEWAY < claims.nbf {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use threeport_store::{Key32, Op, Precondition};

    struct World {
        _directory: tempfile::TempDir,
        store: Store,
        tokens: Tokens,
    }

    async fn world() -> World {
        let directory = tempfile::tempdir().expect("a directory");
        let config = threeport_store::Config::new(directory.path().join("store.db"), Key32::generate());
        let store = Store::open(config).await.expect("a store");
        let keys = Arc::new(TokenKeys::load_or_create(&directory.path().join("keys")).expect("keys"));
        World { _directory: directory, store, tokens: Tokens::new(keys, "https://issuer".into()) }
    }

    fn key(plural: &str, name: &str) -> Key {
        Key { resource: Resource::new("", plural), namespace: Some("shop".into()), name: name.into() }
    }

    async fn put(store: &Store, plural: &str, name: &str, uid: &str) -> Object {
        let body = json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}});
        let op = Op::Put { key: key(plural, name), body, precondition: Precondition::Absent, edges: None, wake: None };
        store.write(vec![op]).await.expect("written").remove(0)
    }

    async fn change(store: &Store, plural: &str, name: &str, body: Value) {
        let precondition = Precondition::Present { uid: None, resource_version: None };
        let op = Op::Put { key: key(plural, name), body, precondition, edges: None, wake: None };
        store.write(vec![op]).await.expect("written");
    }

    async fn remove(store: &Store, plural: &str, name: &str) {
        let precondition = Precondition::Present { uid: None, resource_version: None };
        store.write(vec![Op::Remove { key: key(plural, name), precondition }]).await.expect("removed");
    }

    fn ours() -> Vec<String> {
        vec!["https://issuer".to_owned()]
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_time_its_audience_and_its_account() {
        let World { store, tokens, .. } = &world().await;
        let account = put(store, "serviceaccounts", "robot", "u1").await;
        let token = tokens.make(&account, None, &ours(), 1000, Some(1600)).expect("made");
        let user = |token: String, audience: &str, now: i64| {
            let audience = vec![audience.to_owned()];
            async move { tokens.user(store, &token, &audience, now).await.expect("ours") }
        };
        let (found, audiences) = user(token.clone(), "https://issuer", 1599).await.expect("good");
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("system:serviceaccount:shop:robot", "u1"));
        assert_eq!(found.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
        assert_eq!(audiences, ours());
        for (audience, now, why) in [
            ("https://issuer", 1600, "expired"),
            ("https://issuer", 900, "not valid yet"),
            ("other", 1500, "audiences"),
        ] {
            let error = user(token.clone(), audience, now).await.expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        remove(store, "serviceaccounts", "robot").await;
        assert!(user(token.clone(), "https://issuer", 1500).await.is_err(), "the account is gone");
        put(store, "serviceaccounts", "robot", "u2").await;
        let error = user(token, "https://issuer", 1500).await.expect_err("another account");
        assert!(error.contains("does not match"), "{error}");
    }

    #[tokio::test]
    async fn a_token_of_a_secret_ends_with_it() {
        let World { store, tokens, .. } = &world().await;
        let account = put(store, "serviceaccounts", "robot", "u1").await;
        put(store, "secrets", "s", "s1").await;
        let bound = Named { name: "s".into(), uid: "s1".into() };
        let token = tokens.make(&account, Some(bound), &ours(), 1000, None).expect("made");
        let secret = |token: &str| {
            let metadata = json!({"name": "s", "namespace": "shop", "uid": "s1"});
            json!({"metadata": metadata, "data": {"token": STANDARD.encode(token)}})
        };
        let error = tokens.user(store, &token, &ours(), 1000).await.expect("ours").expect_err("nothing in it");
        assert!(error.contains("invalidated"), "{error}");
        change(store, "secrets", "s", secret(&token)).await;
        assert!(tokens.user(store, &token, &ours(), i64::MAX - 60).await.expect("ours").is_ok());
        change(store, "secrets", "s", secret("another")).await;
        assert!(tokens.user(store, &token, &ours(), 1000).await.expect("ours").is_err(), "another is in it");
        change(store, "secrets", "s", secret(&token)).await;
        remove(store, "secrets", "s").await;
        let error = tokens.user(store, &token, &ours(), 1000).await.expect("ours").expect_err("no Secret");
        assert!(error.contains("invalidated"), "{error}");
    }

    #[tokio::test]
    async fn a_token_ends_soon_after_the_deletion_of_what_it_is_bound_to_was_asked_for() {
        let World { store, tokens, .. } = &world().await;
        let account = put(store, "serviceaccounts", "robot", "u1").await;
        put(store, "secrets", "s", "s1").await;
        let bound = Named { name: "s".into(), uid: "s1".into() };
        let token = tokens.make(&account, Some(bound), &ours(), 1000, Some(9000)).expect("made");
        let body = |name: &str, uid: &str, deleted: bool| {
            let mut body =
                json!({"metadata": {"name": name, "namespace": "shop", "uid": uid, "finalizers": ["g.io/kept"]}});
            if deleted {
                // Second 2000.
                body["metadata"]["deletionTimestamp"] = "1970-01-01T00:33:20Z".into();
            }
            body
        };
        let good = async |now: i64| tokens.user(store, &token, &ours(), now).await.expect("ours").is_ok();
        for (plural, name, uid) in [("serviceaccounts", "robot", "u1"), ("secrets", "s", "s1")] {
            assert!(good(2100).await, "{plural}");
            change(store, plural, name, body(name, uid, true)).await;
            assert!(good(2060).await, "{plural}: clocks differ");
            assert!(!good(2061).await, "{plural}");
            change(store, plural, name, body(name, uid, false)).await;
        }
    }

    #[tokio::test]
    async fn what_somebody_else_made_is_no_token_of_ours() {
        let World { store, tokens, .. } = &world().await;
        let account = put(store, "serviceaccounts", "robot", "u1").await;
        let token = tokens.make(&account, None, &ours(), 1000, Some(1600)).expect("made");
        let (message, signature) = token.rsplit_once('.').expect("parts");
        let (header, body) = message.split_once('.').expect("parts");
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("text");
        let forged = URL_SAFE_NO_PAD.encode(claims.replace("robot", "admin"));
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": tokens.keys.current()}).to_string());
        let unknown = URL_SAFE_NO_PAD.encode(json!({"alg": ALGORITHM, "kid": "other"}).to_string());
        let elsewhere = {
            let directory = tempfile::tempdir().expect("a directory");
            let keys = TokenKeys::load_or_create(directory.path()).expect("keys");
            let other = Tokens::new(Arc::new(keys), "https://issuer".into());
            other.make(&account, None, &ours(), 1000, Some(1600)).expect("made")
        };
        for wrong in [
            format!("{header}.{forged}.{signature}"),
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{unknown}.{body}.{signature}"),
            format!("{message}.{}", &signature[..signature.len() - 4]),
            elsewhere,
            "a.b.c".into(),
            "x".into(),
            String::new(),
        ] {
            assert!(tokens.user(store, &wrong, &ours(), 1500).await.is_none(), "{wrong}");
        }
        assert!(tokens.user(store, &token, &ours(), 1500).await.is_some_and(|found| found.is_ok()));
    }
}
