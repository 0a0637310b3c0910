"""What forbids an upgrade; pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from cpkit.facts.snapshot import Snapshot
from cpkit.health import gate
from cpkit.upgrade.outside import Outside
from cpkit.upgrade.passes import STEPS
from cpkit.upgrade.target import KUBERNETES, Target, part, runs
from cpkit.versions import Version, version_table

SPARE = 64 << 20  # bytes that stay free beside the binaries
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


def refusals(snapshot: Snapshot, target: Target, first: str, outside: Outside) -> Iterator[Refusal]:
    """Every reason not to begin with node `first`; empty when there is nothing to do."""
    for node in snapshot.control_plane:
        for step in STEPS:
            for component in step.components:
                yield from _version(snapshot, node, component, target)
    yield from _kubelets(target.kubernetes, outside)
    yield from _hooks(outside)
    yield from _room(snapshot, target, outside)
    for component, why in dict(outside.unaccepted or {}).items():
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
        yield from _backwards(snapshot, node, component, now, target)
    elif (wanted.major, wanted.minor) > (now.major, now.minor + 1):
        step = f"{now.major}.{now.minor + 1}"
        text = f"{component} {now} to {wanted} skips a minor"
        yield Refusal("skip", text, f"One minor after the other: first to {step}.", node)
    elif component == "etcd" and wanted.minor > now.minor and now < (floor := _etcd_floor(target)):
        text = f"etcd {now} must be at least {floor} before it becomes {wanted.series}"
        yield Refusal("etcd.floor", text, f"First bring it there: --etcd {_patch(now, floor)}", node)
    elif wanted.minor > now.minor and (emulated := _emulates(snapshot, node, component)):
        text = f"{component} {now} still emulates {emulated}"
        yield Refusal("emulation", text, "First end the upgrade before: cpkit upgrade finalize", node)
    elif target.emulated_by(component) and _final(snapshot, node, component, target):
        text = f"{component} {now} has not emulated {target.emulates} from its start"
        hint = "It may have written what the minor before does not understand. Go on without --rollback-safe."
        yield Refusal("emulation", text, hint, node)


def _final(snapshot: Snapshot, node: str, component: str, target: Target) -> bool:
    """Whether a component has the target's minor already, and behaves like it."""
    now = runs(snapshot, node, component)
    return now is not None and now.series == target.kubernetes.series and not _emulates(snapshot, node, component)


def _emulates(snapshot: Snapshot, node: str, component: str) -> str:
    found = part(snapshot, node, component)
    return found.emulates if found else ""


def _backwards(snapshot: Snapshot, node: str, component: str, now: Version, target: Target) -> Iterator[Refusal]:
    """A minor goes back only where nothing was written that the one before does not understand."""
    wanted = target.of(component)
    text = f"{component} runs {now}; back to {wanted} is a downgrade"
    if component == "etcd":
        if not target.back:
            words = f"--to {target.kubernetes} --etcd {wanted}"
            hint = f"A minor of etcd goes back by its own procedure: cpkit upgrade rollback {words}"
            yield Refusal("downgrade", text, hint, node)
        elif (now.major, now.minor) != (wanted.major, wanted.minor + 1):
            yield Refusal("downgrade", text, "etcd goes back one minor after the other.", node)
        return
    if _emulates(snapshot, node, component) != wanted.series:
        hint = (
            f"It does not emulate {wanted.series}, and what {now.series} has written, {wanted.series} may not "
            "understand. Only an upgrade with --rollback-safe that is not finalized can be taken back; else there is "
            f"the backup: cpkit restore etcd. An interrupted upgrade goes on with --to {now}."
        )
        yield Refusal("downgrade", text, hint, node)
    elif not target.back:
        yield Refusal("downgrade", text, f"It emulates {wanted.series}, so it can: cpkit upgrade rollback", node)


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


def _hooks(outside: Outside) -> Iterator[Refusal]:
    for hook in outside.hooks:
        if hook.everything:
            text = f"the webhook {hook.name} refuses what it cannot judge, and nobody serves {hook.service}"
            hint = "Bring its service up, or take the webhook away until afterwards: it holds up Kubernetes itself."
            yield Refusal("webhooks", text, hint)


def _room(snapshot: Snapshot, target: Target, outside: Outside) -> Iterator[Refusal]:
    for node in snapshot.control_plane:
        host, found = snapshot.nodes[node].host, part(snapshot, node, KUBERNETES[0])
        placed = found is not None and str(target.kubernetes) in found.installed
        if host and host.room and outside.needed and not placed and host.room.free < outside.needed + SPARE:
            free, needed = host.room.free >> 20, outside.needed >> 20
            text = f"{free} MiB are free under {host.room.path}, and the binaries need {needed}"
            yield Refusal("room", text, f"Make room on {node}: versions that no link selects may go.", node)


def _gate(snapshot: Snapshot, first: str) -> Iterator[Refusal]:
    for found in gate.before(snapshot, first):
        if found.blocks:
            unknown = found.level == "unknown"
            yield Refusal(f"gate: {found.check}", found.text, found.hint, found.node, unknown=unknown, passing=True)
