//! Every field that the API types have is in the tables, and no other.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::*;

/// Asks a type for the names of its fields: they are what it is deserialised with.
struct Names<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.set(fields);
        Err(Error::custom("only asked"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn names_of<T: DeserializeOwned>() -> BTreeSet<&'static str> {
    let names = Cell::new(&[][..]);
    T::deserialize(Names(&names)).err();
    names.get().iter().copied().collect()
}

/// The tables below one, by the path of the first field that has them.
fn collect(path: &str, table: &'static [Field], found: &mut Vec<(String, &'static [Field])>) {
    if found.iter().any(|(_, known)| std::ptr::eq(*known, table)) {
        return;
    }
    found.push((path.to_owned(), table));
    for field in table {
        if let Verdict::Works(kind) = &field.verdict {
            let mut kind = kind;
            while let Kind::List(of) = kind {
                kind = of;
            }
            if let Kind::Object(below) = kind {
                let path = if path.is_empty() {
                    field.name.to_owned()
                } else {
                    format!("{path}.{}", field.name)
                };
                collect(&path, below, found);
            }
        }
    }
}

#[test]
fn every_field_of_the_api_has_a_verdict() {
    const INIT: &str = "spec.initContainers";
    let of = |path: &str| path.replace("CONTAINER", INIT);
    let types: BTreeMap<String, BTreeSet<&str>> = [
        ("", names_of::<core::Pod>()),
        ("metadata", names_of::<ObjectMeta>()),
        ("spec", names_of::<core::PodSpec>()),
        ("spec.dnsConfig", names_of::<core::PodDNSConfig>()),
        // `spec.dnsConfig.options` has the table of httpHeaders.
        ("spec.hostAliases", names_of::<core::HostAlias>()),
        // `spec.os` has the same table.
        (
            "spec.imagePullSecrets",
            names_of::<core::LocalObjectReference>(),
        ),
        ("spec.readinessGates", names_of::<core::PodReadinessGate>()),
        (
            "spec.securityContext",
            names_of::<core::PodSecurityContext>(),
        ),
        ("CONTAINER", names_of::<core::Container>()),
        ("CONTAINER.env", names_of::<core::EnvVar>()),
        ("CONTAINER.env.valueFrom", names_of::<core::EnvVarSource>()),
        (
            "CONTAINER.env.valueFrom.configMapKeyRef",
            names_of::<core::ConfigMapKeySelector>(),
        ),
        (
            "CONTAINER.env.valueFrom.fieldRef",
            names_of::<core::ObjectFieldSelector>(),
        ),
        (
            "CONTAINER.env.valueFrom.fileKeyRef",
            names_of::<core::FileKeySelector>(),
        ),
        (
            "CONTAINER.env.valueFrom.resourceFieldRef",
            names_of::<core::ResourceFieldSelector>(),
        ),
        ("CONTAINER.envFrom", names_of::<core::EnvFromSource>()),
        (
            "CONTAINER.envFrom.configMapRef",
            names_of::<core::ConfigMapEnvSource>(),
        ),
        ("CONTAINER.lifecycle", names_of::<core::Lifecycle>()),
        (
            "CONTAINER.lifecycle.postStart",
            names_of::<core::LifecycleHandler>(),
        ),
        (
            "CONTAINER.lifecycle.postStart.sleep",
            names_of::<core::SleepAction>(),
        ),
        ("CONTAINER.livenessProbe", names_of::<core::Probe>()),
        (
            "CONTAINER.livenessProbe.exec",
            names_of::<core::ExecAction>(),
        ),
        (
            "CONTAINER.livenessProbe.grpc",
            names_of::<core::GRPCAction>(),
        ),
        (
            "CONTAINER.livenessProbe.httpGet",
            names_of::<core::HTTPGetAction>(),
        ),
        (
            "CONTAINER.livenessProbe.httpGet.httpHeaders",
            names_of::<core::HTTPHeader>(),
        ),
        (
            "CONTAINER.livenessProbe.tcpSocket",
            names_of::<core::TCPSocketAction>(),
        ),
        ("CONTAINER.ports", names_of::<core::ContainerPort>()),
        (
            "CONTAINER.resources",
            names_of::<core::ResourceRequirements>(),
        ),
        (
            "CONTAINER.restartPolicyRules",
            names_of::<core::ContainerRestartRule>(),
        ),
        (
            "CONTAINER.restartPolicyRules.exitCodes",
            names_of::<core::ContainerRestartRuleOnExitCodes>(),
        ),
        (
            "CONTAINER.securityContext",
            names_of::<core::SecurityContext>(),
        ),
        (
            "CONTAINER.securityContext.capabilities",
            names_of::<core::Capabilities>(),
        ),
        (
            "CONTAINER.securityContext.seccompProfile",
            names_of::<core::SeccompProfile>(),
        ),
        ("CONTAINER.volumeMounts", names_of::<core::VolumeMount>()),
        ("spec.volumes", names_of::<core::Volume>()),
        (
            "spec.volumes.configMap",
            names_of::<core::ConfigMapVolumeSource>(),
        ),
        (
            "spec.volumes.configMap.items",
            names_of::<core::KeyToPath>(),
        ),
        (
            "spec.volumes.downwardAPI",
            names_of::<core::DownwardAPIVolumeSource>(),
        ),
        (
            "spec.volumes.downwardAPI.items",
            names_of::<core::DownwardAPIVolumeFile>(),
        ),
        (
            "spec.volumes.emptyDir",
            names_of::<core::EmptyDirVolumeSource>(),
        ),
        (
            "spec.volumes.hostPath",
            names_of::<core::HostPathVolumeSource>(),
        ),
        (
            "spec.volumes.persistentVolumeClaim",
            names_of::<core::PersistentVolumeClaimVolumeSource>(),
        ),
        (
            "spec.volumes.ephemeral",
            names_of::<core::EphemeralVolumeSource>(),
        ),
        (
            "spec.volumes.ephemeral.volumeClaimTemplate",
            names_of::<core::PersistentVolumeClaimTemplate>(),
        ),
        (
            "spec.volumes.ephemeral.volumeClaimTemplate.spec",
            names_of::<core::PersistentVolumeClaimSpec>(),
        ),
        (
            "spec.volumes.ephemeral.volumeClaimTemplate.spec.resources",
            names_of::<core::VolumeResourceRequirements>(),
        ),
        (
            "spec.volumes.ephemeral.volumeClaimTemplate.spec.selector",
            names_of::<LabelSelector>(),
        ),
        (
            "spec.volumes.ephemeral.volumeClaimTemplate.spec.selector.matchExpressions",
            names_of::<LabelSelectorRequirement>(),
        ),
        ("spec.volumes.image", names_of::<core::ImageVolumeSource>()),
        (
            "spec.volumes.projected",
            names_of::<core::ProjectedVolumeSource>(),
        ),
        (
            "spec.volumes.projected.sources",
            names_of::<core::VolumeProjection>(),
        ),
        (
            "spec.volumes.projected.sources.configMap",
            names_of::<core::ConfigMapProjection>(),
        ),
        (
            "spec.volumes.projected.sources.downwardAPI",
            names_of::<core::DownwardAPIProjection>(),
        ),
        (
            "spec.volumes.secret",
            names_of::<core::SecretVolumeSource>(),
        ),
    ]
    .into_iter()
    .map(|(path, names)| (of(path), names))
    .collect();
    let mut tables = Vec::new();
    collect("", POD, &mut tables);
    let mut wrong = Vec::new();
    for (path, table) in &tables {
        let Some(names) = types.get(path) else {
            wrong.push(format!("{path}: which type is it?"));
            continue;
        };
        let known: BTreeSet<&str> = table.iter().map(|field| field.name).collect();
        for name in names.difference(&known) {
            wrong.push(format!("{path}.{name}: has no verdict"));
        }
        for name in known.difference(names) {
            wrong.push(format!("{path}.{name}: is not in the API"));
        }
        assert_eq!(known.len(), table.len(), "{path} has a name twice");
    }
    for path in types.keys() {
        if !tables.iter().any(|(known, _)| known == path) {
            wrong.push(format!("{path}: has no table"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_other_kinds_have_a_verdict_for_every_field() {
    let top = |table: &[Field], names: BTreeSet<&'static str>| {
        let known: BTreeSet<&str> = table.iter().map(|field| field.name).collect();
        let kind = BTreeSet::from(["apiVersion", "kind"]);
        assert_eq!(known, names.union(&kind).copied().collect());
    };
    top(CONFIG_MAP, names_of::<core::ConfigMap>());
    top(SECRET, names_of::<core::Secret>());
    top(
        PERSISTENT_VOLUME_CLAIM,
        names_of::<core::PersistentVolumeClaim>(),
    );
    top(PERSISTENT_VOLUME, names_of::<core::PersistentVolume>());
    let mut tables = Vec::new();
    collect("", PERSISTENT_VOLUME, &mut tables);
    for (path, names) in [
        ("spec", names_of::<core::PersistentVolumeSpec>()),
        ("spec.claimRef", names_of::<core::ObjectReference>()),
        ("spec.hostPath", names_of::<core::HostPathVolumeSource>()),
        ("spec.local", names_of::<core::LocalVolumeSource>()),
    ] {
        let mut below = tables.iter();
        let (_, table) = below.find(|(known, _)| known == path).unwrap();
        let known: BTreeSet<&str> = table.iter().map(|field| field.name).collect();
        assert_eq!(known, names, "{path}");
    }
}

#[test]
fn every_field_of_services_and_endpoints_has_a_verdict() {
    let check = |kind: &str, top: &'static [Field], types: &[(&str, BTreeSet<&'static str>)]| {
        let mut tables = Vec::new();
        collect("", top, &mut tables);
        for (path, names) in types {
            let mut below = tables.iter();
            let (_, table) = below.find(|(known, _)| known == path).unwrap();
            let mut known: BTreeSet<&str> = table.iter().map(|field| field.name).collect();
            if path.is_empty() {
                known.retain(|name| !matches!(*name, "apiVersion" | "kind"));
            }
            let names: BTreeSet<&str> = names
                .iter()
                .copied()
                .filter(|name| !path.is_empty() || !matches!(*name, "apiVersion" | "kind"))
                .collect();
            assert_eq!(known, names, "{kind} {path}");
        }
    };
    check(
        "Service",
        SERVICE,
        &[
            ("", names_of::<core::Service>()),
            ("spec", names_of::<core::ServiceSpec>()),
            ("spec.ports", names_of::<core::ServicePort>()),
            (
                "spec.sessionAffinityConfig",
                names_of::<core::SessionAffinityConfig>(),
            ),
            (
                "spec.sessionAffinityConfig.clientIP",
                names_of::<core::ClientIPConfig>(),
            ),
        ],
    );
    check(
        "Endpoints",
        ENDPOINTS,
        &[
            ("", names_of::<core::Endpoints>()),
            ("subsets", names_of::<core::EndpointSubset>()),
            ("subsets.addresses", names_of::<core::EndpointAddress>()),
            (
                "subsets.addresses.targetRef",
                names_of::<core::ObjectReference>(),
            ),
            ("subsets.ports", names_of::<core::EndpointPort>()),
        ],
    );
    check(
        "EndpointSlice",
        ENDPOINT_SLICE,
        &[
            ("", names_of::<discovery::EndpointSlice>()),
            ("endpoints", names_of::<discovery::Endpoint>()),
            (
                "endpoints.conditions",
                names_of::<discovery::EndpointConditions>(),
            ),
            ("ports", names_of::<discovery::EndpointPort>()),
        ],
    );
}
