//! Permissions name kinds, roles name resources: what a target calls the kinds that it serves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::rbac::{Permission, Place, Rule, Rules};
use crate::{Error, Reference, Target, group};

impl Target {
    /// Permissions in the names that the target has for kinds. True: some kinds are not served.
    pub(crate) async fn rules(&self, permissions: &[Permission]) -> Result<(Rules, bool), Error> {
        let (mut rules, mut unserved) = (Rules::new(), false);
        let mut all = None;
        for permission in permissions {
            let mut versions = Vec::new();
            for group in &permission.groups {
                if group == "*" && all.is_none() {
                    all = Some(self.group_versions().await?);
                }
                match &all {
                    Some(all) if group == "*" => versions.extend(all.iter().cloned()),
                    _ => versions.extend(self.versions(group).await?),
                }
            }
            let cluster = permission.place == Place::Cluster;
            let mut served_kinds = BTreeSet::new();
            let mut by_group: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for api_version in versions {
                let group = group(&api_version);
                let kinds = self.kinds("look for kinds", &api_version).await?;
                for (kind, served) in kinds.iter() {
                    let meant = permission.kinds.iter().any(|meant| meant == "*" || meant == kind);
                    if meant {
                        served_kinds.insert(kind.clone());
                    }
                    if meant && served.namespaced != cluster {
                        by_group.entry(group.to_owned()).or_default().insert(served.resource.plural.clone());
                    }
                }
            }
            unserved |= permission.kinds.iter().any(|kind| kind != "*" && !served_kinds.contains(kind));
            for (group, resources) in by_group {
                let rule = Rule {
                    group,
                    resources: resources.into_iter().collect(),
                    verbs: permission.verbs.clone(),
                    names: permission.names.clone(),
                };
                match &permission.place {
                    Place::Namespaces(namespaces) => {
                        for namespace in namespaces {
                            rules.entry(Some(namespace.clone())).or_default().push(rule.clone());
                        }
                    }
                    Place::AllNamespaces | Place::Cluster => rules.entry(None).or_default().push(rule),
                }
            }
        }
        Ok((rules, unserved))
    }

    /// The versions of a group; none if it is not served.
    async fn versions(&self, group: &str) -> Result<Vec<String>, Error> {
        if group.is_empty() {
            return Ok(vec!["v1".to_owned()]);
        }
        let step = "look for a group of kinds";
        let text = match self.raw(step, &format!("/apis/{group}")).await? {
            Ok(text) => text,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => return Err(self.told(step, &Reference::of(&Value::Null), error)),
        };
        let group: Value = self.parse(step, &Reference::of(&Value::Null), text)?;
        Ok(group_versions(&group))
    }

    /// All versions of all groups.
    pub(crate) async fn group_versions(&self) -> Result<Vec<String>, Error> {
        let (step, nothing) = ("look for all kinds", Reference::of(&Value::Null));
        let text = self.raw(step, "/apis").await?.map_err(|error| self.told(step, &nothing, error))?;
        let groups: Value = self.parse(step, &nothing, text)?;
        let mut versions = vec!["v1".to_owned()];
        versions.extend(groups["groups"].as_array().into_iter().flatten().flat_map(group_versions));
        Ok(versions)
    }
}

fn group_versions(group: &Value) -> Vec<String> {
    let versions = group["versions"].as_array().into_iter().flatten();
    versions.filter_map(|version| version["groupVersion"].as_str().map(str::to_owned)).collect()
}
