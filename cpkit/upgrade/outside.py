"""What is known from elsewhere than the control plane's nodes, read out of the API's own documents; pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REQUESTED = re.compile(r"^apiserver_requested_deprecated_apis\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
CORE = {
    "",
    "*",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
    "discovery.k8s.io",
}  # groups Kubernetes itself needs
SERVICE_OF = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Requested:
    """An API version that somebody asks for, and the minor that will not have it any more; empty if none is named."""

    name: str
    removed: str


@dataclass(frozen=True)
class Hook:
    """A webhook that refuses what it cannot be asked about, and whose service nobody serves."""

    name: str
    service: str
    everything: bool  # whether it is called for every object of core resources, in every namespace


@dataclass(frozen=True)
class Outside:
    """What was learnt; None and empty values are no finding."""

    kubelets: Mapping[str, str] | None = None  # Node -> the version of its kubelet; None when it was not learnt
    unaccepted: Mapping[str, str] | None = None  # component -> why the target refuses its flags
    requested: tuple[Requested, ...] = ()
    hooks: tuple[Hook, ...] = ()
    stored: tuple[str, ...] = ()  # CRDs with objects in a version they do not have any more
    needed: int = 0  # bytes of binaries that a node without any of them has to take


def requested_in(metrics: str) -> Iterator[Requested]:
    """The deprecated API versions that were asked for since an API server started, from its metrics."""
    for labels, value in REQUESTED.findall(metrics):
        told = dict(LABEL.findall(labels))
        if float(value):
            group = f"{told['group']}/" if told.get("group") else ""
            yield Requested(
                f"{group}{told.get('version', '')} {told.get('resource', '')}", told.get("removed_release", "")
            )


def hooks_in(configurations: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]) -> Iterator[Hook]:
    """The webhooks that would refuse requests for core resources, as no endpoint of their service is ready."""
    served = {
        f"{each['metadata']['namespace']}/{each['metadata'].get('labels', {}).get(SERVICE_OF, '')}"
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    for configuration in configurations:
        for hook in configuration.get("webhooks") or ():
            service = hook.get("clientConfig", {}).get("service")
            if not service or hook.get("failurePolicy", "Fail") != "Fail" or not _core(hook):
                continue
            where = f"{service['namespace']}/{service['name']}"
            if where not in served:
                narrow = any(hook.get(each) for each in ("namespaceSelector", "objectSelector", "matchConditions"))
                yield Hook(f"{configuration['metadata']['name']}: {hook['name']}", where, not narrow)


def stored_in(definitions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The CRDs that still name a stored version which they do not define any more."""
    for each in definitions:
        defined = {version["name"] for version in each["spec"]["versions"]}
        gone = sorted(set(each.get("status", {}).get("storedVersions") or ()) - defined)
        if gone:
            yield f"{each['metadata']['name']} ({', '.join(gone)})"


def _core(hook: Mapping[str, Any]) -> bool:
    return any(CORE & set(rule.get("apiGroups") or ()) for rule in hook.get("rules") or ())
