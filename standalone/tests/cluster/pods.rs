//! What pods may do, and who reaches whom.

use super::{chosen, items, objects, of_kind, yaml};
use crate::common::files::documents;
use gateway::services::{names, processes};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Checks that a pod asks for no rights on its node.
fn has_no_rights(what: &str, pod: &Value) {
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{what}");
    assert_ne!(pod["securityContext"]["runAsUser"], 0, "{what}");
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{what}");
    assert_eq!(pod["automountServiceAccountToken"], false, "{what}");
    for right in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        assert_eq!(pod[right], Value::Null, "{what}");
    }
    for volume in items(&pod["volumes"]) {
        assert!(volume.get("hostPath").is_none(), "{what}: {volume}");
    }
    let containers = items(&pod["containers"]).iter().chain(items(&pod["initContainers"]));
    for container in containers {
        let what = format!("{what}: {}", container["name"]);
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{what}");
        assert_eq!(context["privileged"], Value::Null, "{what}");
        assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{what}");
        // The official image of Kafka writes its configuration beside its programs.
        if container["name"] != "kafka" {
            assert_eq!(context["readOnlyRootFilesystem"], true, "{what}");
        }
        for limit in ["memory", "cpu"] {
            assert!(container["resources"]["limits"][limit].is_string(), "{what}: no {limit}");
        }
    }
}

/// Returns the pod of a Deployment of ours as `service.yaml` patches it.
fn patched(deployment: &Value) -> Value {
    let mut deployment = deployment.clone();
    for step in items(&yaml("kubernetes/base/service.yaml")) {
        assert_eq!(step["op"], "add");
        let (parent, key) = step["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let parent = deployment.pointer_mut(parent).expect("there is something to patch");
        assert!(parent.get(key).is_none(), "service.yaml replaces {key}");
        parent[key] = step["value"].clone();
    }
    deployment["spec"]["template"]["spec"].clone()
}

#[test]
fn no_pod_has_rights_on_its_node() {
    let base = yaml("kubernetes/base/kustomization.yaml");
    let all = json!([{ "target": { "kind": "Deployment" }, "path": "service.yaml" }]);
    assert_eq!(base["patches"], all, "service.yaml is for every Deployment");
    let objects = objects();
    let mut seen = BTreeSet::new();
    for deployment in of_kind(&objects, "Deployment") {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        assert_eq!(items(&deployment["spec"]["template"]["spec"]["containers"]).len(), 1);
        has_no_rights(name, &patched(deployment));
        seen.insert(name);
    }
    assert_eq!(seen, processes().into_iter().collect(), "our Deployments");
    for set in of_kind(&objects, "StatefulSet") {
        has_no_rights(&set["metadata"]["name"].to_string(), &set["spec"]["template"]["spec"]);
    }
    for kind in ["DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod", "RoleBinding", "Role"] {
        assert_eq!(of_kind(&objects, kind), Vec::<&Value>::new(), "say here what it may do");
    }
}

/// A pod of the shop, at a port that it listens on.
type Way = (String, String, String);

/// Returns the ways between pods that the policies of production allow: both sides must.
fn ways() -> BTreeSet<Way> {
    let policies = documents("kubernetes/overlays/production/network.yaml");
    let one_sided = |direction: &str, kind: &str, side: &str| {
        let mut allowed = BTreeSet::new();
        for policy in policies.iter().map(|policy| &policy["spec"]) {
            if !items(&policy["policyTypes"]).contains(&kind.into()) {
                continue;
            }
            for rule in items(&policy[direction]) {
                let peers =
                    items(&rule[side]).iter().filter(|peer| peer["namespaceSelector"].is_null());
                for peer in peers.flat_map(|peer| chosen(&peer["podSelector"])) {
                    for pod in chosen(&policy["podSelector"]) {
                        let (from, to) =
                            if kind == "Ingress" { (&peer, &pod) } else { (&pod, &peer) };
                        let ports = match items(&rule["ports"]) {
                            [] => vec!["any".to_owned()],
                            ports => ports
                                .iter()
                                .map(|port| port["port"].as_str().unwrap().to_owned())
                                .collect(),
                        };
                        allowed
                            .extend(ports.into_iter().map(|port| (from.clone(), to.clone(), port)));
                    }
                }
            }
        }
        allowed
    };
    let out = one_sided("egress", "Egress", "to");
    let into = one_sided("ingress", "Ingress", "from");
    let is_sent = |(from, to, _): &Way| out.contains(&(from.clone(), to.clone(), "any".into()));
    into.iter().filter(|way| out.contains(way) || is_sent(way)).cloned().collect()
}

#[test]
fn pods_reach_those_that_they_need_and_nobody_else() {
    let policies = documents("kubernetes/overlays/production/network.yaml");
    let deny = policies.iter().find(|policy| policy["metadata"]["name"] == "default-deny");
    let all = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    assert_eq!(deny.unwrap()["spec"], all);

    let way = |from: &str, to: &str, port: &str| (from.to_owned(), to.to_owned(), port.to_owned());
    let mut wanted =
        BTreeSet::from([way("cart", "gifticon", "http"), way("kafka", "kafka", "kafka")]);
    for service in names() {
        wanted.insert(way("gateway", service, "http"));
        wanted.insert(way(service, "kafka", "kafka"));
        wanted.insert(way(service, "postgres", "postgres"));
    }
    assert_eq!(ways(), wanted);
}

/// Those that a namespace selector lets in from elsewhere.
#[test]
fn from_outside_come_the_ingress_and_prometheus_alone() {
    let policies = documents("kubernetes/overlays/production/network.yaml");
    let mut found = BTreeSet::new();
    for policy in &policies {
        for rule in items(&policy["spec"]["ingress"]) {
            for peer in items(&rule["from"]) {
                assert!(peer.get("ipBlock").is_none(), "{policy}");
                let namespace = &peer["namespaceSelector"]["matchLabels"];
                if let Some(name) = namespace["kubernetes.io/metadata.name"].as_str() {
                    for port in items(&rule["ports"]) {
                        let port = port["port"].as_str().unwrap().to_owned();
                        found.insert((
                            name.to_owned(),
                            chosen(&policy["spec"]["podSelector"]),
                            port,
                        ));
                    }
                }
            }
        }
    }
    let gateway = BTreeSet::from(["gateway".to_owned()]);
    let all = processes().into_iter().map(ToOwned::to_owned).collect();
    let ingress = ("ingress-nginx".to_owned(), gateway, "http".to_owned());
    assert_eq!(found, [ingress, ("monitoring".to_owned(), all, "management".to_owned())].into());
}
