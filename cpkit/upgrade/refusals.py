"""What forbids an upgrade; pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cpkit.facts.snapshot import Snapshot
from cpkit.health import gate
from cpkit.upgrade.passes import STEPS
from cpkit.upgrade.target import Target, runs
from cpkit.versions import Version, version_table

KUBELET_BEHIND = 3  # minors a kubelet may be older than an API server


@dataclass(frozen=True)
class Refusal:
    """A reason not to begin."""

    rule: str
    text: str
    hint: str
    node: str = ""
    unknown: bool = False  # something was not learnt, rather than wrong
    passing: bool = False  # it may be otherwise in a moment


@dataclass(frozen=True)
class Outside:
    """What is known from elsewhere than the control plane's nodes."""

    kubelets: Mapping[str, str] | None = None  # Node -> the version of its kubelet; None when it was not learnt
    unaccepted: Mapping[str, str] = ()  # type: ignore[assignment]  # component -> why the target refuses its flags


def refusals(snapshot: Snapshot, target: Target, first: str, outside: Outside) -> Iterator[Refusal]:
    """Every reason not to begin with node `first`; empty when there is nothing to do."""
    for node in snapshot.control_plane:
        for step in STEPS:
            for component in step.components:
                yield from _version(snapshot, node, component, target)
    yield from _kubelets(target.kubernetes, outside)
    for component, why in dict(outside.unaccepted).items():
        name = component.replace("-", "_")
        hint = f"Look at {name}_extra_args" + ("." if component == "etcd" else " and cluster_feature_gates.")
        yield Refusal("flags", f"{component} {target.of(component)} does not take the inventory's flags: {why}", hint)
    if first:
        yield from _gate(snapshot, first)


def _version(snapshot: Snapshot, node: str, component: str, target: Target) -> Iterator[Refusal]:
    now, wanted = runs(snapshot, node, component), target.of(component)
    if now is None:
        facts = snapshot.nodes[node]
        why = facts.error or f"{component} does not run"
        text = f"which version of {component} runs is not known: {why}"
        hint = facts.hint or f"On {node}: systemctl status {component}"
        yield Refusal("known", text, hint, node, unknown=True, passing=True)
    elif (wanted.major, wanted.minor) < (now.major, now.minor):
        yield _backwards(node, component, now, wanted)
    elif (wanted.major, wanted.minor) > (now.major, now.minor + 1):
        step = f"{now.major}.{now.minor + 1}"
        text = f"{component} {now} to {wanted} skips a minor"
        yield Refusal("skip", text, f"One minor after the other: first to {step}.", node)
    elif component == "etcd" and wanted.minor > now.minor and now < (floor := _etcd_floor(target)):
        text = f"etcd {now} must be at least {floor} before it becomes {wanted.series}"
        yield Refusal("etcd.floor", text, f"First bring it there: --etcd {_patch(now, floor)}", node)


def _backwards(node: str, component: str, now: Version, wanted: Version) -> Refusal:
    text = f"{component} runs {now}; back to {wanted} is a downgrade"
    if component == "etcd":
        hint = "A minor of etcd goes back only by etcd's own procedure (etcdctl downgrade), member by member."
    else:
        hint = (
            f"What {now.series} has written, {wanted.series} may not understand. Going back needs an upgrade in two "
            f"steps, with --emulated-version={wanted.series} until it is final. An interrupted upgrade goes on with "
            f"--to {now}."
        )
    return Refusal("downgrade", text, hint, node)


def _etcd_floor(target: Target) -> Version:
    return version_table().minor(target.kubernetes).etcd_floor


def _patch(now: Version, floor: Version) -> Version:
    """The patch of the minor that runs which the table knows to be good."""
    known = [row.etcd for row in version_table().minors.values() if row.etcd.series == now.series]
    return max([floor, *known])


def _kubelets(target: Version, outside: Outside) -> Iterator[Refusal]:
    for node, text in dict(outside.kubelets or {}).items():
        kubelet = Version.parse(text.partition("-")[0].partition("+")[0])
        oldest = target.minor - KUBELET_BEHIND
        if kubelet.minor < oldest:
            said = f"kubelet {kubelet} on Node {node} is more than {KUBELET_BEHIND} minors older than {target}"
            yield Refusal("kubelets", said, f"First bring that kubelet to {target.major}.{oldest} or newer.")
        elif (kubelet.major, kubelet.minor) > (target.major, target.minor):
            said = f"kubelet {kubelet} on Node {node} is newer than an API server of {target}"
            yield Refusal("kubelets", said, f"Upgrade to {kubelet.series} instead, or take that kubelet back.")


def _gate(snapshot: Snapshot, first: str) -> Iterator[Refusal]:
    for found in gate.before(snapshot, first):
        if found.blocks:
            unknown = found.level == "unknown"
            yield Refusal(f"gate: {found.check}", found.text, found.hint, found.node, unknown=unknown, passing=True)
