//! Every field of the kinds podrun reads, with its verdict: it works, it has no effect on one
//! machine and a note says so, or it is refused for a reason.

/// What a value must be.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Int,
    /// An int32 of the API.
    Int32,
    /// An `IntOrString` of the API: the number or the name of a port.
    IntOrText,
    Bool,
    Quantity,
    /// Strings by name.
    Map,
    /// Quantities by name.
    Quantities,
    List(&'static Self),
    Object(&'static [Field]),
}

/// What becomes of a field.
#[derive(Debug)]
pub(super) enum Verdict {
    Works(Kind),
    /// A server sets it; pasted output of `kubectl get -o yaml` has it.
    Stripped,
    /// Why it has no effect here.
    NoEffect(&'static str),
    /// Why it can never work here, and what would.
    Refused(&'static str, Option<&'static str>),
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// The value that says what is the case anyway, where that is neither empty nor false.
    pub(super) default: Option<&'static str>,
}

const fn works(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        verdict: Verdict::Works(kind),
        default: None,
    }
}

const fn stripped(name: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Stripped,
        default: None,
    }
}

const fn note(name: &'static str, why: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::NoEffect(why),
        default: None,
    }
}

const fn refused(name: &'static str, why: &'static str, hint: Option<&'static str>) -> Field {
    Field {
        name,
        verdict: Verdict::Refused(why, hint),
        default: None,
    }
}

const SCHEDULER: &str = "has no effect: there is one machine and no scheduler";
const CLOUD: &str = "needs a storage driver of a cluster";
const CLOUD_HINT: Option<&str> = Some("use a persistentVolumeClaim, hostPath or emptyDir");

pub(super) const METADATA: &[Field] = &[
    works("name", Kind::Text),
    works("generateName", Kind::Text),
    works("namespace", Kind::Text),
    works("labels", Kind::Map),
    works("annotations", Kind::Map),
    stripped("uid"),
    stripped("creationTimestamp"),
    stripped("deletionTimestamp"),
    stripped("deletionGracePeriodSeconds"),
    stripped("generation"),
    stripped("resourceVersion"),
    stripped("selfLink"),
    stripped("managedFields"),
    note(
        "ownerReferences",
        "has no effect: there is no garbage collector of a cluster",
    ),
    note(
        "finalizers",
        "has no effect: there is no controller that would remove them",
    ),
];

pub(super) const POD: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("spec", Kind::Object(POD_SPEC)),
    stripped("status"),
];

const DNS_CONFIG: &[Field] = &[
    works("nameservers", Kind::List(&Kind::Text)),
    works("searches", Kind::List(&Kind::Text)),
    works("options", Kind::List(&Kind::Object(NAME_AND_VALUE))),
];

const READINESS_GATE: &[Field] = &[works("conditionType", Kind::Text)];

const POD_SPEC: &[Field] = &[
    works("initContainers", Kind::List(&Kind::Object(CONTAINER))),
    works("containers", Kind::List(&Kind::Object(CONTAINER))),
    works("volumes", Kind::List(&Kind::Object(VOLUME))),
    works("restartPolicy", Kind::Text),
    works("terminationGracePeriodSeconds", Kind::Int),
    works("activeDeadlineSeconds", Kind::Int),
    works("hostname", Kind::Text),
    works("hostAliases", Kind::List(&Kind::Object(HOST_ALIAS))),
    works("dnsPolicy", Kind::Text),
    works("shareProcessNamespace", Kind::Bool),
    works("hostNetwork", Kind::Bool),
    works("hostPID", Kind::Bool),
    works("hostIPC", Kind::Bool),
    works("securityContext", Kind::Object(POD_SECURITY)),
    works("enableServiceLinks", Kind::Bool),
    refused(
        "ephemeralContainers",
        "may not be in a manifest (the API server refuses it, too)",
        None,
    ),
    works("imagePullSecrets", Kind::List(&Kind::Object(NAME))),
    works("subdomain", Kind::Text),
    works("setHostnameAsFQDN", Kind::Bool),
    works("hostnameOverride", Kind::Text),
    works("dnsConfig", Kind::Object(DNS_CONFIG)),
    works("readinessGates", Kind::List(&Kind::Object(READINESS_GATE))),
    works("resources", Kind::Object(RESOURCES)),
    works("hostUsers", Kind::Bool),
    refused(
        "schedulingGates",
        "would keep the pod from ever starting",
        Some("remove the gates"),
    ),
    refused(
        "runtimeClassName",
        "names a runtime that is not here",
        Some("remove it: podrun is the runtime"),
    ),
    refused(
        "overhead",
        "is set by a RuntimeClass and not by users",
        None,
    ),
    refused("resourceClaims", "needs a device driver of a cluster", None),
    Field {
        name: "os",
        verdict: Verdict::Works(Kind::Object(NAME)),
        default: None,
    },
    note("nodeSelector", SCHEDULER),
    note("affinity", SCHEDULER),
    note("tolerations", SCHEDULER),
    note("topologySpreadConstraints", SCHEDULER),
    Field {
        name: "schedulerName",
        verdict: Verdict::NoEffect(SCHEDULER),
        default: Some("default-scheduler"),
    },
    note("priorityClassName", SCHEDULER),
    Field {
        name: "priority",
        verdict: Verdict::NoEffect(SCHEDULER),
        default: Some("0"),
    },
    Field {
        name: "preemptionPolicy",
        verdict: Verdict::NoEffect(SCHEDULER),
        default: Some("PreemptLowerPriority"),
    },
    note("schedulingGroup", SCHEDULER),
    note("evictionResponders", SCHEDULER),
    note("nodeName", "has no effect: there is one machine"),
    Field {
        name: "serviceAccountName",
        verdict: Verdict::NoEffect("has no effect: there is no API server to authenticate to"),
        default: Some("default"),
    },
    Field {
        name: "serviceAccount",
        verdict: Verdict::NoEffect("has no effect: there is no API server to authenticate to"),
        default: Some("default"),
    },
    note(
        "automountServiceAccountToken",
        "has no effect: no token is mounted",
    ),
];

/// Of an operating system and of an object of the same namespace.
const NAME: &[Field] = &[works("name", Kind::Text)];

const HOST_ALIAS: &[Field] = &[
    works("ip", Kind::Text),
    works("hostnames", Kind::List(&Kind::Text)),
];

const POD_SECURITY: &[Field] = &[
    works("runAsUser", Kind::Int),
    works("runAsGroup", Kind::Int),
    works("runAsNonRoot", Kind::Bool),
    works("supplementalGroups", Kind::List(&Kind::Int)),
    works("supplementalGroupsPolicy", Kind::Text),
    works("fsGroup", Kind::Int),
    works("fsGroupChangePolicy", Kind::Text),
    works("sysctls", Kind::List(&Kind::Object(NAME_AND_VALUE))),
    works("seccompProfile", Kind::Object(PROFILE)),
    works("appArmorProfile", Kind::Object(PROFILE)),
    note("seLinuxOptions", SELINUX),
    note("seLinuxChangePolicy", SELINUX),
    refused("windowsOptions", "is for Windows", None),
];

const SELINUX: &str = "has no effect: podrun sets no SELinux labels";

/// Of sysctls, of headers and of options of a resolver.
const NAME_AND_VALUE: &[Field] = &[works("name", Kind::Text), works("value", Kind::Text)];

/// Of seccomp and of `AppArmor`.
const PROFILE: &[Field] = &[
    works("type", Kind::Text),
    works("localhostProfile", Kind::Text),
];

const CONTAINER: &[Field] = &[
    works("name", Kind::Text),
    works("image", Kind::Text),
    works("command", Kind::List(&Kind::Text)),
    works("args", Kind::List(&Kind::Text)),
    works("workingDir", Kind::Text),
    works("ports", Kind::List(&Kind::Object(PORT))),
    works("env", Kind::List(&Kind::Object(ENV))),
    works("volumeMounts", Kind::List(&Kind::Object(VOLUME_MOUNT))),
    works("imagePullPolicy", Kind::Text),
    works("securityContext", Kind::Object(SECURITY)),
    works("envFrom", Kind::List(&Kind::Object(ENV_FROM))),
    works("resources", Kind::Object(RESOURCES)),
    note("resizePolicy", "has no effect: containers are not resized"),
    works("restartPolicy", Kind::Text),
    works(
        "restartPolicyRules",
        Kind::List(&Kind::Object(RESTART_RULE)),
    ),
    refused(
        "volumeDevices",
        "needs a claim of a raw block device, which podrun does not make",
        Some("use a hostPath of type BlockDevice"),
    ),
    works("livenessProbe", Kind::Object(PROBE)),
    works("readinessProbe", Kind::Object(PROBE)),
    works("startupProbe", Kind::Object(PROBE)),
    works("lifecycle", Kind::Object(LIFECYCLE)),
    works("terminationMessagePath", Kind::Text),
    works("terminationMessagePolicy", Kind::Text),
    works("stdin", Kind::Bool),
    works("stdinOnce", Kind::Bool),
    works("tty", Kind::Bool),
];

const RESTART_RULE: &[Field] = &[
    works("action", Kind::Text),
    works(
        "exitCodes",
        Kind::Object(&[
            works("operator", Kind::Text),
            works("values", Kind::List(&Kind::Int32)),
        ]),
    ),
];

const PROBE: &[Field] = &[
    works("exec", Kind::Object(EXEC)),
    works("httpGet", Kind::Object(HTTP_GET)),
    works("tcpSocket", Kind::Object(TCP_SOCKET)),
    works(
        "grpc",
        Kind::Object(&[
            works("port", Kind::Int32),
            works("service", Kind::Text),
            works("mode", Kind::Text),
        ]),
    ),
    works("initialDelaySeconds", Kind::Int32),
    works("timeoutSeconds", Kind::Int32),
    works("periodSeconds", Kind::Int32),
    works("successThreshold", Kind::Int32),
    works("failureThreshold", Kind::Int32),
    works("terminationGracePeriodSeconds", Kind::Int),
];

const LIFECYCLE: &[Field] = &[
    works("postStart", Kind::Object(HOOK)),
    works("preStop", Kind::Object(HOOK)),
    works("stopSignal", Kind::Text),
];

const HOOK: &[Field] = &[
    works("exec", Kind::Object(EXEC)),
    works("httpGet", Kind::Object(HTTP_GET)),
    works("sleep", Kind::Object(&[works("seconds", Kind::Int)])),
    works("tcpSocket", Kind::Object(TCP_SOCKET)),
];

const TCP_SOCKET: &[Field] = &[works("port", Kind::IntOrText), works("host", Kind::Text)];

const EXEC: &[Field] = &[works("command", Kind::List(&Kind::Text))];

const HTTP_GET: &[Field] = &[
    works("path", Kind::Text),
    works("port", Kind::IntOrText),
    works("host", Kind::Text),
    works("scheme", Kind::Text),
    works("httpHeaders", Kind::List(&Kind::Object(NAME_AND_VALUE))),
    works("protocol", Kind::Text),
];

const RESOURCES: &[Field] = &[
    works("limits", Kind::Quantities),
    works("requests", Kind::Quantities),
    refused("claims", "needs a device driver of a cluster", None),
];

const PORT: &[Field] = &[
    works("name", Kind::Text),
    works("containerPort", Kind::Int32),
    works("hostPort", Kind::Int32),
    works("hostIP", Kind::Text),
    works("protocol", Kind::Text),
];

const ENV: &[Field] = &[
    works("name", Kind::Text),
    works("value", Kind::Text),
    works("valueFrom", Kind::Object(ENV_SOURCE)),
];

const ENV_SOURCE: &[Field] = &[
    works("configMapKeyRef", Kind::Object(KEY_REF)),
    works("secretKeyRef", Kind::Object(KEY_REF)),
    works("fieldRef", Kind::Object(FIELD_REF)),
    works("resourceFieldRef", Kind::Object(RESOURCE_REF)),
    works("fileKeyRef", Kind::Object(FILE_KEY_REF)),
];

const FILE_KEY_REF: &[Field] = &[
    works("volumeName", Kind::Text),
    works("path", Kind::Text),
    works("key", Kind::Text),
    works("optional", Kind::Bool),
];

const KEY_REF: &[Field] = &[
    works("name", Kind::Text),
    works("key", Kind::Text),
    works("optional", Kind::Bool),
];

const FIELD_REF: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("fieldPath", Kind::Text),
];

const RESOURCE_REF: &[Field] = &[
    works("containerName", Kind::Text),
    works("resource", Kind::Text),
    works("divisor", Kind::Quantity),
];

const ENV_FROM: &[Field] = &[
    works("prefix", Kind::Text),
    works("configMapRef", Kind::Object(OBJECT_REF)),
    works("secretRef", Kind::Object(OBJECT_REF)),
];

const OBJECT_REF: &[Field] = &[works("name", Kind::Text), works("optional", Kind::Bool)];

const VOLUME_MOUNT: &[Field] = &[
    works("name", Kind::Text),
    works("mountPath", Kind::Text),
    works("readOnly", Kind::Bool),
    works("recursiveReadOnly", Kind::Text),
    works("subPath", Kind::Text),
    works("subPathExpr", Kind::Text),
    works("mountPropagation", Kind::Text),
    works("bindMountOptions", Kind::List(&Kind::Text)),
];

const SECURITY: &[Field] = &[
    works("runAsUser", Kind::Int),
    works("runAsGroup", Kind::Int),
    works("readOnlyRootFilesystem", Kind::Bool),
    works("runAsNonRoot", Kind::Bool),
    works(
        "capabilities",
        Kind::Object(&[
            works("add", Kind::List(&Kind::Text)),
            works("drop", Kind::List(&Kind::Text)),
        ]),
    ),
    works("privileged", Kind::Bool),
    works("allowPrivilegeEscalation", Kind::Bool),
    works("procMount", Kind::Text),
    works("seccompProfile", Kind::Object(PROFILE)),
    works("appArmorProfile", Kind::Object(PROFILE)),
    note("seLinuxOptions", SELINUX),
    refused("windowsOptions", "is for Windows", None),
];

const KEY_TO_PATH: &[Field] = &[
    works("key", Kind::Text),
    works("path", Kind::Text),
    works("mode", Kind::Int32),
    works("user", Kind::Int),
];

const DOWNWARD_FILE: &[Field] = &[
    works("path", Kind::Text),
    works("fieldRef", Kind::Object(FIELD_REF)),
    works("resourceFieldRef", Kind::Object(RESOURCE_REF)),
    works("mode", Kind::Int32),
    works("user", Kind::Int),
];

const PROJECTED_OBJECT: &[Field] = &[
    works("name", Kind::Text),
    works("items", Kind::List(&Kind::Object(KEY_TO_PATH))),
    works("optional", Kind::Bool),
];

const PROJECTION: &[Field] = &[
    works("configMap", Kind::Object(PROJECTED_OBJECT)),
    works("secret", Kind::Object(PROJECTED_OBJECT)),
    works(
        "downwardAPI",
        Kind::Object(&[works("items", Kind::List(&Kind::Object(DOWNWARD_FILE)))]),
    ),
    refused(
        "serviceAccountToken",
        "needs an API server that signs tokens",
        Some("put a token of your own into a Secret"),
    ),
    refused(
        "clusterTrustBundle",
        "needs the certificates of a cluster",
        Some("put the certificates into a ConfigMap"),
    ),
    refused(
        "podCertificate",
        "needs a signer of a cluster",
        Some("put a certificate into a Secret"),
    ),
];

const VOLUME: &[Field] = &[
    works("name", Kind::Text),
    works(
        "emptyDir",
        Kind::Object(&[
            works("medium", Kind::Text),
            works("sizeLimit", Kind::Quantity),
            works("mode", Kind::Int32),
        ]),
    ),
    works(
        "hostPath",
        Kind::Object(&[works("path", Kind::Text), works("type", Kind::Text)]),
    ),
    works(
        "configMap",
        Kind::Object(&[
            works("name", Kind::Text),
            works("items", Kind::List(&Kind::Object(KEY_TO_PATH))),
            works("defaultMode", Kind::Int32),
            works("optional", Kind::Bool),
            works("defaultUser", Kind::Int),
        ]),
    ),
    works(
        "secret",
        Kind::Object(&[
            works("secretName", Kind::Text),
            works("items", Kind::List(&Kind::Object(KEY_TO_PATH))),
            works("defaultMode", Kind::Int32),
            works("optional", Kind::Bool),
            works("defaultUser", Kind::Int),
        ]),
    ),
    works(
        "downwardAPI",
        Kind::Object(&[
            works("items", Kind::List(&Kind::Object(DOWNWARD_FILE))),
            works("defaultMode", Kind::Int32),
            works("defaultUser", Kind::Int),
        ]),
    ),
    works(
        "projected",
        Kind::Object(&[
            works("sources", Kind::List(&Kind::Object(PROJECTION))),
            works("defaultMode", Kind::Int32),
            works("defaultUser", Kind::Int),
        ]),
    ),
    works(
        "persistentVolumeClaim",
        Kind::Object(&[
            works("claimName", Kind::Text),
            works("readOnly", Kind::Bool),
        ]),
    ),
    works(
        "ephemeral",
        Kind::Object(&[works(
            "volumeClaimTemplate",
            Kind::Object(&[
                works("metadata", Kind::Object(METADATA)),
                works("spec", Kind::Object(CLAIM_SPEC)),
            ]),
        )]),
    ),
    works(
        "image",
        Kind::Object(&[
            works("reference", Kind::Text),
            works("pullPolicy", Kind::Text),
        ]),
    ),
    refused("csi", CLOUD, CLOUD_HINT),
    refused(
        "nfs",
        "needs a mount that podrun does not make",
        Some("mount it and use hostPath"),
    ),
    refused("iscsi", CLOUD, CLOUD_HINT),
    refused("fc", CLOUD, CLOUD_HINT),
    refused(
        "gitRepo",
        "is disabled in Kubernetes since 1.33",
        Some("clone into an emptyDir in a container of the pod"),
    ),
    refused("gcePersistentDisk", CLOUD, CLOUD_HINT),
    refused("awsElasticBlockStore", CLOUD, CLOUD_HINT),
    refused("azureDisk", CLOUD, CLOUD_HINT),
    refused("azureFile", CLOUD, CLOUD_HINT),
    refused("cinder", CLOUD, CLOUD_HINT),
    refused("vsphereVolume", CLOUD, CLOUD_HINT),
    refused("portworxVolume", CLOUD, CLOUD_HINT),
    refused("glusterfs", CLOUD, CLOUD_HINT),
    refused("rbd", CLOUD, CLOUD_HINT),
    refused("cephfs", CLOUD, CLOUD_HINT),
    refused("flocker", CLOUD, CLOUD_HINT),
    refused("quobyte", CLOUD, CLOUD_HINT),
    refused("photonPersistentDisk", CLOUD, CLOUD_HINT),
    refused("scaleIO", CLOUD, CLOUD_HINT),
    refused("storageos", CLOUD, CLOUD_HINT),
    refused("flexVolume", CLOUD, CLOUD_HINT),
];

pub(super) const CONFIG_MAP: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("data", Kind::Map),
    works("binaryData", Kind::Map),
    works("immutable", Kind::Bool),
];

pub(super) const SECRET: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("type", Kind::Text),
    works("data", Kind::Map),
    works("stringData", Kind::Map),
    works("immutable", Kind::Bool),
];

const SELECTOR: &[Field] = &[
    works("matchLabels", Kind::Map),
    works(
        "matchExpressions",
        Kind::List(&Kind::Object(&[
            works("key", Kind::Text),
            works("operator", Kind::Text),
            works("values", Kind::List(&Kind::Text)),
        ])),
    ),
];

const SNAPSHOT: &str = "needs a storage driver that copies volumes";
const CLASS_OF_ATTRIBUTES: &str = "has no effect: a directory has no such attributes";

const CLAIM_SPEC: &[Field] = &[
    works("accessModes", Kind::List(&Kind::Text)),
    works("selector", Kind::Object(SELECTOR)),
    works(
        "resources",
        Kind::Object(&[
            works("requests", Kind::Quantities),
            works("limits", Kind::Quantities),
        ]),
    ),
    works("volumeName", Kind::Text),
    works("storageClassName", Kind::Text),
    works("volumeMode", Kind::Text),
    refused("dataSource", SNAPSHOT, None),
    refused("dataSourceRef", SNAPSHOT, None),
    note("volumeAttributesClassName", CLASS_OF_ATTRIBUTES),
];

pub(super) const PERSISTENT_VOLUME_CLAIM: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("spec", Kind::Object(CLAIM_SPEC)),
    stripped("status"),
];

const VOLUME_HINT: Option<&str> = Some("use hostPath or local");

const PERSISTENT_VOLUME_SPEC: &[Field] = &[
    works("capacity", Kind::Quantities),
    works("accessModes", Kind::List(&Kind::Text)),
    works("persistentVolumeReclaimPolicy", Kind::Text),
    works("storageClassName", Kind::Text),
    works("volumeMode", Kind::Text),
    works(
        "claimRef",
        Kind::Object(&[
            works("apiVersion", Kind::Text),
            works("kind", Kind::Text),
            works("namespace", Kind::Text),
            works("name", Kind::Text),
            stripped("uid"),
            stripped("resourceVersion"),
            stripped("fieldPath"),
        ]),
    ),
    works(
        "hostPath",
        Kind::Object(&[works("path", Kind::Text), works("type", Kind::Text)]),
    ),
    works(
        "local",
        Kind::Object(&[
            works("path", Kind::Text),
            note("fsType", "has no effect: a directory is used as it is"),
        ]),
    ),
    note(
        "mountOptions",
        "has no effect: a directory is used as it is",
    ),
    note("nodeAffinity", "has no effect: there is one machine"),
    note("volumeAttributesClassName", CLASS_OF_ATTRIBUTES),
    refused("csi", CLOUD, VOLUME_HINT),
    refused(
        "nfs",
        "needs a mount that podrun does not make",
        Some("mount it and use local"),
    ),
    refused("iscsi", CLOUD, VOLUME_HINT),
    refused("fc", CLOUD, VOLUME_HINT),
    refused("gcePersistentDisk", CLOUD, VOLUME_HINT),
    refused("awsElasticBlockStore", CLOUD, VOLUME_HINT),
    refused("azureDisk", CLOUD, VOLUME_HINT),
    refused("azureFile", CLOUD, VOLUME_HINT),
    refused("cinder", CLOUD, VOLUME_HINT),
    refused("vsphereVolume", CLOUD, VOLUME_HINT),
    refused("portworxVolume", CLOUD, VOLUME_HINT),
    refused("glusterfs", CLOUD, VOLUME_HINT),
    refused("rbd", CLOUD, VOLUME_HINT),
    refused("cephfs", CLOUD, VOLUME_HINT),
    refused("flocker", CLOUD, VOLUME_HINT),
    refused("quobyte", CLOUD, VOLUME_HINT),
    refused("photonPersistentDisk", CLOUD, VOLUME_HINT),
    refused("scaleIO", CLOUD, VOLUME_HINT),
    refused("storageos", CLOUD, VOLUME_HINT),
    refused("flexVolume", CLOUD, VOLUME_HINT),
];

pub(super) const PERSISTENT_VOLUME: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("spec", Kind::Object(PERSISTENT_VOLUME_SPEC)),
    stripped("status"),
];

const NO_BALANCER: &str = "has no effect: there is no load balancer";

const SERVICE_SPEC: &[Field] = &[
    works("type", Kind::Text),
    works("clusterIP", Kind::Text),
    works("clusterIPs", Kind::List(&Kind::Text)),
    works("externalName", Kind::Text),
    works(
        "ports",
        Kind::List(&Kind::Object(&[
            works("name", Kind::Text),
            works("protocol", Kind::Text),
            works("port", Kind::Int32),
            works("targetPort", Kind::IntOrText),
            works("nodePort", Kind::Int32),
            works("appProtocol", Kind::Text),
        ])),
    ),
    works("selector", Kind::Map),
    works("publishNotReadyAddresses", Kind::Bool),
    works("sessionAffinity", Kind::Text),
    works(
        "sessionAffinityConfig",
        Kind::Object(&[works(
            "clientIP",
            Kind::Object(&[works("timeoutSeconds", Kind::Int32)]),
        )]),
    ),
    // Of one machine all endpoints are local, and as close as can be.
    works("internalTrafficPolicy", Kind::Text),
    works("externalTrafficPolicy", Kind::Text),
    works("trafficDistribution", Kind::Text),
    // A word about what they cannot do is said with their rules.
    works("ipFamilies", Kind::List(&Kind::Text)),
    works("ipFamilyPolicy", Kind::Text),
    works("externalIPs", Kind::List(&Kind::Text)),
    works("loadBalancerSourceRanges", Kind::List(&Kind::Text)),
    works("allocateLoadBalancerNodePorts", Kind::Bool),
    works("loadBalancerClass", Kind::Text),
    note("loadBalancerIP", NO_BALANCER),
    note("healthCheckNodePort", NO_BALANCER),
];

pub(super) const SERVICE: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("spec", Kind::Object(SERVICE_SPEC)),
    stripped("status"),
];

const ENDPOINT_PORT: &[Field] = &[
    works("name", Kind::Text),
    works("protocol", Kind::Text),
    works("port", Kind::Int32),
    works("appProtocol", Kind::Text),
];

/// What an endpoint belongs to; people look at it and nothing else does.
const TARGET_REF: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("namespace", Kind::Text),
    works("name", Kind::Text),
    works("uid", Kind::Text),
    works("fieldPath", Kind::Text),
    stripped("resourceVersion"),
];

const ENDPOINT_ADDRESS: &[Field] = &[
    works("ip", Kind::Text),
    works("hostname", Kind::Text),
    works("nodeName", Kind::Text),
    works("targetRef", Kind::Object(TARGET_REF)),
];

pub(super) const ENDPOINTS: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works(
        "subsets",
        Kind::List(&Kind::Object(&[
            works("addresses", Kind::List(&Kind::Object(ENDPOINT_ADDRESS))),
            works(
                "notReadyAddresses",
                Kind::List(&Kind::Object(ENDPOINT_ADDRESS)),
            ),
            works("ports", Kind::List(&Kind::Object(ENDPOINT_PORT))),
        ])),
    ),
];

const ONE_ZONE: &str = "has no effect: there is one machine";

pub(super) const ENDPOINT_SLICE: &[Field] = &[
    works("apiVersion", Kind::Text),
    works("kind", Kind::Text),
    works("metadata", Kind::Object(METADATA)),
    works("addressType", Kind::Text),
    works(
        "endpoints",
        Kind::List(&Kind::Object(&[
            works("addresses", Kind::List(&Kind::Text)),
            works(
                "conditions",
                Kind::Object(&[
                    works("ready", Kind::Bool),
                    works("serving", Kind::Bool),
                    works("terminating", Kind::Bool),
                ]),
            ),
            works("hostname", Kind::Text),
            works("nodeName", Kind::Text),
            works("targetRef", Kind::Object(TARGET_REF)),
            works("zone", Kind::Text),
            note("hints", ONE_ZONE),
            note("deprecatedTopology", ONE_ZONE),
        ])),
    ),
    works("ports", Kind::List(&Kind::Object(ENDPOINT_PORT))),
];

#[cfg(test)]
mod tests;
