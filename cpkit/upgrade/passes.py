"""The passes of an upgrade, in the order that the skew rules demand, and when a node is done with one; pure."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from cpkit.facts.snapshot import Snapshot
from cpkit.rolling import Pass
from cpkit.upgrade.target import Target, part, runs


@dataclass(frozen=True)
class Step:
    """One kind of change of an upgrade."""

    name: str
    components: tuple[str, ...]
    playbook: str
    why: str  # it stands where it does
    why_back: str  # the same on the way back


STEPS = (
    Step(
        "etcd",
        ("etcd",),
        "upgrade_etcd.yml",
        "before the API servers that ask it; its leader last",
        "last, for it came first, and a minor by etcd's own downgrade; its leader last",
    ),
    Step(
        "kube-apiserver",
        ("kube-apiserver",),
        "upgrade_kube_apiserver.yml",
        "on all nodes before any controller, which must not be newer than an API server",
        "once no controller is newer",
    ),
    Step(
        "the controllers",
        ("kube-controller-manager", "kube-scheduler"),
        "upgrade_controllers.yml",
        "once every API server has the new version",
        "before any API server, for none must be older than a controller",
    ),
)
API_SERVERS = STEPS[1]


def called(step: Step, target: Target) -> str:
    """The name of a pass."""
    return f"{target.verb} {step.name}"


def has(snapshot: Snapshot, node: str, component: str, target: Target) -> bool:
    """Whether a node's process has the target's version and emulation, and its next start would have them, too."""
    found = part(snapshot, node, component)
    wanted, emulates = str(target.of(component)), target.emulated_by(component)
    return (
        found is not None
        and (found.running, found.emulates) == (wanted, emulates)
        and (found.selected, found.would_emulate) == (wanted, emulates)
    )


def done(step: Step, target: Target, only: Collection[str] = ()) -> Callable[[Snapshot, str], bool]:
    """The predicate of a pass; with `only`, other nodes are left for another run."""

    def predicate(snapshot: Snapshot, node: str) -> bool:
        left_out = bool(only) and node not in only
        return left_out or all(has(snapshot, node, component, target) for component in step.components)

    return predicate


def passes(snapshot: Snapshot, target: Target, only: Collection[str] = ()) -> tuple[Pass, ...]:
    """The passes of an upgrade; those of the controllers only if all API servers have the target's version by then."""
    return tuple(
        Pass(
            called(step, target),
            step.playbook,
            done(step, target, only),
            {"gate_asked": True},
            stops_etcd="etcd" in step.components,
        )
        for step in _allowed(snapshot, target, only)
    )


def _allowed(snapshot: Snapshot, target: Target, only: Collection[str]) -> Iterator[Step]:
    if target.back:
        yield from reversed(STEPS)
        return
    others = (name for name in snapshot.control_plane if only and name not in only)
    held_up = any(not _new_enough(snapshot, name, target) for name in others)
    yield from (step for step in STEPS if not held_up or STEPS.index(step) <= STEPS.index(API_SERVERS))


def _new_enough(snapshot: Snapshot, node: str, target: Target) -> bool:
    """Whether an API server is no older than the target's controllers will be, nor behaves so."""
    found, version = part(snapshot, node, "kube-apiserver"), runs(snapshot, node, "kube-apiserver")
    old = found is not None and found.emulates not in {"", target.emulates}
    return version is not None and version >= target.kubernetes and not old
