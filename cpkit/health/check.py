"""Findings, the registry of checks, and the one function that judges a snapshot."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from cpkit.errors import Exit
from cpkit.facts.host import Host
from cpkit.facts.snapshot import MemberStatus, NodeFacts, Snapshot
from cpkit.health.finding import Finding, Level

Stage = Literal["before", "after"]
Scope = Literal["cluster", "control_plane", "load_balancer", "node"]

NODE_HINT = "Make the node reachable over SSH, then ask again."
ETCD_HINT = "On the node: systemctl status etcd, journalctl -u etcd"


class Verdict(NamedTuple):  # thousands are made in a rolling change, and a tuple is made fastest
    """What a rule says before it is tied to its check: a node's name is needed only by cluster-wide rules."""

    level: Level
    text: str
    hint: str = ""
    node: str = ""


class Seen(NamedTuple):
    """A node that answered, and the snapshot around it."""

    node: NodeFacts
    host: Host
    snapshot: Snapshot


class Asked(NamedTuple):
    """An etcd member that answered, and the snapshot around it."""

    name: str
    status: MemberStatus
    snapshot: Snapshot


T = TypeVar("T")
ClusterRule = Callable[[Snapshot], Iterator[Verdict]]
NodeRule = Callable[[Seen], Iterator[Verdict]]
MemberRule = Callable[[Asked], Iterator[Verdict]]


@dataclass(frozen=True)
class Check:
    """A named rule: its first docstring line is its promise; gates say when it may hold up a change."""

    name: str
    scope: Scope
    gates: frozenset[Stage]
    promise: str
    run: Callable[[Snapshot, Container[str]], Iterator[Finding]]


CHECKS: dict[str, Check] = {}  # filled by the decorators below while the rules are imported


def check(name: str, *, gate: Iterable[Stage] = ()) -> Callable[[ClusterRule], ClusterRule]:
    """Register a rule about the cluster as a whole."""

    def register(rule: ClusterRule) -> ClusterRule:
        def run(snapshot: Snapshot, _nodes: Container[str]) -> Iterator[Finding]:
            for said in rule(snapshot):
                yield Finding(name, said.node, said.level, said.text, said.hint)

        CHECKS[name] = Check(name, "cluster", frozenset(gate), _promise(rule), run)
        return rule

    return register


def node_check(
    name: str, *, scope: Scope = "control_plane", gate: Iterable[Stage] = ()
) -> Callable[[NodeRule], NodeRule]:
    """Register a rule about each node of a scope; a node that did not answer is unknown without asking the rule."""

    def register(rule: NodeRule) -> NodeRule:
        def run(snapshot: Snapshot, nodes: Container[str]) -> Iterator[Finding]:
            for node in _in_scope(snapshot, scope):
                if node.name not in nodes:
                    continue
                if node.host is None:
                    yield Finding(name, node.name, "unknown", f"not known: {node.error}", node.hint or NODE_HINT)
                    continue
                for said in rule(Seen(node, node.host, snapshot)):
                    yield Finding(name, node.name, said.level, said.text, said.hint)

        CHECKS[name] = Check(name, scope, frozenset(gate), _promise(rule), run)
        return rule

    return register


def member_check(name: str, *, gate: Iterable[Stage] = ()) -> Callable[[MemberRule], MemberRule]:
    """Register a rule about each etcd member; a member that did not answer is unknown without asking the rule."""

    def register(rule: MemberRule) -> MemberRule:
        def run(snapshot: Snapshot, nodes: Container[str]) -> Iterator[Finding]:
            for node in snapshot.control_plane.values():
                if node.name not in nodes:
                    continue
                status = snapshot.etcd.statuses.get(node.name, MemberStatus(error="not asked"))
                if status.error:
                    said = silence(snapshot, node.name)
                    yield Finding(name, node.name, said.level, said.text, said.hint)
                    continue
                for said in rule(Asked(node.name, status, snapshot)):
                    yield Finding(name, node.name, said.level, said.text, said.hint)

        CHECKS[name] = Check(name, "control_plane", frozenset(gate), _promise(rule), run)
        return rule

    return register


def judge(
    snapshot: Snapshot, names: Iterable[str] | None = None, *, nodes: Container[str] | None = None
) -> tuple[Finding, ...]:
    """Judge a snapshot by every check, or by those named; pure.

    What is asked of one node after the other is asked of every node, or of `nodes`; what is asked of the cluster as a
    whole is not narrowed.
    """
    asked = snapshot.nodes if nodes is None else nodes
    wanted = CHECKS if names is None else names
    return tuple(finding for name in wanted for finding in CHECKS[name].run(snapshot, asked))


def gate_checks(stage: Stage) -> tuple[str, ...]:
    """The checks that may hold up a change at this stage."""
    return tuple(name for name, check in CHECKS.items() if stage in check.gates)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """The exit code for findings: a failure beats an unknown, and a warning alone is healthy."""
    levels = {finding.level for finding in findings}
    if "fail" in levels:
        return Exit.REFUSED
    return Exit.UNKNOWN if "unknown" in levels else Exit.OK


def ok(text: str, *, node: str = "") -> Verdict:
    """All is well."""
    return Verdict("ok", text, node=node)


def warn(text: str, hint: str, *, node: str = "") -> Verdict:
    """It works, and should be looked at."""
    return Verdict("warn", text, hint, node)


def fail(text: str, hint: str, *, node: str = "") -> Verdict:
    """It does not work."""
    return Verdict("fail", text, hint, node)


def unknown(text: str, hint: str, *, node: str = "") -> Verdict:
    """It could not be learnt, so it is not healthy."""
    return Verdict("unknown", text, hint, node)


def silence(snapshot: Snapshot, node: str, otherwise: str = "not asked") -> Verdict:
    """What is said of an etcd member that did not answer: why, in the same words whichever check asks."""
    status = snapshot.etcd.statuses.get(node)
    why = status.error if status and status.error else otherwise
    return unknown(f"not known: {why}", snapshot.nodes[node].hint or ETCD_HINT, node=node)


def commonest(values: Iterable[T]) -> T:
    """The value that most have, the first of them on a tie."""
    listed = list(values)
    return max(listed, key=listed.count)


def _in_scope(snapshot: Snapshot, scope: Scope) -> Iterable[NodeFacts]:
    if scope == "control_plane":
        return snapshot.control_plane.values()
    if scope == "load_balancer":
        return snapshot.load_balancers.values()
    return snapshot.nodes.values()


def _promise(rule: ClusterRule | NodeRule | MemberRule) -> str:
    return (rule.__doc__ or "").strip().splitlines()[0]
