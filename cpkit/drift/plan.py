"""What a reconfiguration would do, in which order, and on which nodes; pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from cpkit.drift.change import Change
from cpkit.drift.fixed import Refusal
from cpkit.facts.snapshot import Snapshot
from cpkit.rolling import Pass, todo

RUNNING = ("restart", "start")  # after these, another process runs


@dataclass(frozen=True)
class Step:
    """One kind of change; with a playbook and no others, units of the control plane are restarted by it."""

    name: str
    components: tuple[str, ...]
    why: str  # it stands where it does, and what it does to requests
    playbook: str = ""


LEAVES = Step("Renew leaves", ("leaves",), "without a restart; proven by handshakes, or taken back")
FILES = Step("Lay down files", ("files", "binaries", "PKI"), "no unit is restarted for them; on all nodes at once")
BALANCERS = Step("Reload balancer", ("haproxy", "keepalived", "packages"), "one at a time; a reload cuts no connection")
STEPS = (
    Step(
        "Reconfigure etcd",
        ("etcd",),
        "before the API servers that ask it; leadership is handed over, its leader last",
        "reconfigure_etcd.yml",
    ),
    Step(
        "Reconfigure kube-apiserver",
        ("kube-apiserver",),
        "on all nodes before any controller; each drains before it ends",
        "reconfigure_kube_apiserver.yml",
    ),
    Step(
        "Reconfigure the controllers",
        ("kube-controller-manager", "kube-scheduler"),
        "once every API server is done",
        "reconfigure_controllers.yml",
    ),
)
REST = Step("Finish", (), "as bootstrap would: what was taken away is made, and units start after the next boot")
ORDER = (LEAVES, FILES, BALANCERS, *STEPS, REST)


@dataclass(frozen=True)
class Round:
    """A step, and the nodes it is to be made on, in order."""

    name: str
    nodes: tuple[str, ...]
    actions: tuple[str, ...]  # in words: `restart etcd`
    why: str


@dataclass(frozen=True)
class DriftPlan:
    """What differs, what is to be done about it in which order, and what forbids it."""

    cluster: str
    changes: tuple[Change, ...]
    rounds: tuple[Round, ...]
    refusals: tuple[Refusal, ...] = ()
    left: tuple[str, ...] = ()  # nodes that differ, too, and that --only leaves for another run

    @property
    def drifted(self) -> bool:
        """Whether anything differs, on any node."""
        return bool(self.changes or self.refusals or self.left)

    def of(self, step: Step) -> tuple[str, ...]:
        """The nodes of a step, in order."""
        return next((each.nodes for each in self.rounds if each.name == step.name), ())


def plan(
    snapshot: Snapshot, changes: Iterable[Change], refusals: Iterable[Refusal] = (), *, only: Collection[str] = ()
) -> DriftPlan:
    """The reconfiguration of a cluster that was compared with its inventory."""
    everything = tuple(changes)
    mine = tuple(change for change in everything if not only or change.node in only)
    rounds = tuple(made for step in ORDER if (made := _round(step, mine, snapshot)).nodes)
    left = sorted({change.node for change in everything} - {change.node for change in mine})
    return DriftPlan(snapshot.plan.cluster, mine, rounds, tuple(refusals), tuple(left))


def step_of(change: Change) -> Step:
    """The step that a change belongs to; what needs no other process is left for the last."""
    step = next((step for step in ORDER if change.component in step.components), REST)
    return step if step not in STEPS or change.action in RUNNING else REST


def restarting(found: DriftPlan, made: Collection[tuple[str, str]]) -> tuple[Pass, ...]:
    """The passes that restart units; a node is done once its turn is among those that were made, step and node.

    What a node should have only the roles know: they verify it in the turn, and the comparison at the end does again.
    """
    return tuple(_pass(step, found.of(step), made) for step in STEPS if found.of(step))


def _pass(step: Step, nodes: Collection[str], made: Collection[tuple[str, str]]) -> Pass:
    def done(_: Snapshot, node: str) -> bool:
        return node not in nodes or (step.name, node) in made

    return Pass(step.name, step.playbook, done, {"gate_asked": True}, stops_etcd="etcd" in step.components)


def _round(step: Step, changes: Iterable[Change], snapshot: Snapshot) -> Round:
    mine = [change for change in changes if step_of(change) is step]
    nodes = dict.fromkeys(change.node for change in mine)
    actions = dict.fromkeys(f"{change.action} {change.component}" for change in mine)
    return Round(step.name, tuple(_ordered(step, nodes, snapshot)), tuple(actions), step.why)


def _ordered(step: Step, nodes: Collection[str], snapshot: Snapshot) -> Iterator[str]:
    """As the engine takes them: etcd's leader last."""
    if step in {LEAVES, *STEPS}:
        yield from todo(Pass(step.name, step.playbook, lambda _, node: node not in nodes), snapshot)
        return
    yield from sorted(nodes)
