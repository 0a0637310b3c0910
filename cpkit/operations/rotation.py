"""What a rotation of leaves is asked for, what it plans, and how it ends; shared by its ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.errors import Refused, Unreachable
from cpkit.facts.snapshot import Snapshot
from cpkit.health.certs import AUTHORITIES, short
from cpkit.inventory import Cluster
from cpkit.journal import unfinished
from cpkit.operations.leaves import Due, Target, due, replaced
from cpkit.pki.leaves import NAMES
from cpkit.pki.renewal import Renewal
from cpkit.rolling import Pass, todo

OPERATION = "rotate-certs"
PLAYBOOK = "rotate_leaves.yml"
# What renewal mends on a node does not keep the node from being renewed. A CA that is not the cluster's does.
MENDS = frozenset({"certs.present", "certs.valid", "certs.chain", "certs.keys", "certs.names"})


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    renewal: Renewal
    dry_run: bool = False
    allow_degraded: bool = False
    kubeconfig: Path | None = None
    merge: bool = False
    become_password: str = field(default="", repr=False)

    @property
    def choice(self) -> dict[str, object]:
        """What is renewed, as it is written down to know the same choice again."""
        return {"all": self.renewal.everything, "only": sorted(self.renewal.only), "days": self.renewal.days}


@dataclass(frozen=True)
class Plan:
    """What a run replaces, in which order, and whether an earlier run began it."""

    target: Target
    order: tuple[str, ...]
    resumed: bool
    unknown: tuple[str, ...]  # nodes that could not be asked
    at_once: bool = False  # on all nodes, because nothing works that one node after the other would keep up

    @property
    def restarts(self) -> bool:
        """Whether controllers must be restarted, as their connections have an ended certificate to show."""
        return any(
            each.why == "has ended" and each.name in {"controller-manager", "scheduler"} for each in self.target.leaves
        )


@dataclass(frozen=True)
class Result:
    """How it ended."""

    plan: Plan
    renewed: tuple[tuple[Due, str], ...]  # with the new serial
    seconds: float
    availability: str
    kubeconfig: Path | None
    directory: Path
    command: str


def plan(cluster: Cluster, snapshot: Snapshot, options: Options) -> Plan:
    """What is due, and what an earlier run that was cut off has left."""
    fresh, earlier = due(cluster, snapshot, options.renewal), unfinished(cluster.name, OPERATION)
    target, resumed = fresh, False
    if earlier:
        left = Target.from_journal(earlier["nodes"]).left(snapshot)
        again = earlier["choice"] == options.choice and (options.renewal.everything or options.renewal.only)
        # The same choice again would name what the earlier run has renewed; a node that it could not ask is new.
        added = {node: leaves for node, leaves in fresh.nodes.items() if not again or node not in left.nodes}
        target, resumed = left.over(Target(added)), bool(left.leaves) or _aside(snapshot)
    order = tuple(node for node in todo(renewing(target), snapshot) if snapshot.nodes[node].host is not None)
    unknown = tuple(name for name, facts in snapshot.control_plane.items() if name not in fresh.nodes)
    if not order and unknown:
        facts = snapshot.nodes[unknown[0]]
        raise Unreachable(f"its certificates are not known: {facts.error}", node=facts.name, hint=facts.hint)
    refuse_absent_keys(snapshot, order)
    return Plan(target, order, resumed, unknown)


def refuse_absent_keys(snapshot: Snapshot, nodes: tuple[str, ...]) -> None:
    """Refused where a CA's key is kept elsewhere: nothing is signed there."""
    for node in nodes:
        for each in snapshot.nodes[node].certificates:
            if each.path in AUTHORITIES and each.key == "absent":
                hint = (
                    "If it is kept elsewhere on purpose, have leaves signed there: cpkit rotate-certs --csr-dir FOLDER"
                )
                raise Refused(
                    f"the key of {short(each.path)} is not there, so no leaf can be signed", node=node, hint=hint
                )


def renewing(target: Target) -> Pass:
    """The pass that replaces what a target names."""
    variables = {"leaves_target": target.variables(), "gate_asked": True}
    return Pass("Renew leaves", PLAYBOOK, replaced(target), variables, mends=MENDS)


def _aside(snapshot: Snapshot) -> bool:
    return any(facts.host is not None and facts.host.kept for facts in snapshot.control_plane.values())


def describe(cluster: str, plan: Plan) -> str:
    """The plan, node by node in the order in which they are taken."""
    head = "this finishes a rotation that an earlier run began" if plan.resumed else "these leaves are renewed"
    where = "on all nodes at once" if plan.at_once else "on one node after the other"
    how = "restarting the controllers" if plan.restarts else "without a restart"
    lines = [f"{cluster}: {head}, {where}, {how}:"]
    width = max(map(len, plan.order), default=0)
    for node in plan.order:
        leaves = plan.target.nodes.get(node, {})
        reasons = dict.fromkeys(each.why for each in leaves.values())
        told = [f"{_names(leaves, why)}: {why}" for why in reasons] or ["only to be verified"]
        lines += [f"  {name:{width}}  {text}" for name, text in zip([node] + [""] * len(told), told, strict=False)]
    if plan.unknown:
        lines += [f"  not known: {', '.join(plan.unknown)}"]
    return "\n".join(lines)


def _names(leaves: Mapping[str, Due], why: str) -> str:
    names = [name for name, each in leaves.items() if each.why == why]
    return f"all {len(NAMES)} leaves" if len(names) == len(NAMES) else ", ".join(names)


def told(renewed: tuple[tuple[Due, str], ...]) -> list[dict[str, str]]:
    """As the report has it."""
    return [{"node": each.node, "leaf": each.name, "old": each.serial, "new": new} for each, new in renewed]
