"""The two questions a rolling change asks: may this node go down now, and is it really back."""

from collections.abc import Collection, Iterator

from cpkit.errors import UsageError
from cpkit.facts.snapshot import NodeFacts, Snapshot
from cpkit.health.certs import RETURN
from cpkit.health.check import CHECKS, Verdict, fail, gate_checks, judge, ok, unknown
from cpkit.health.finding import Finding
from cpkit.health.members import membership
from cpkit.health.nodes import UNITS
from cpkit.health.quorum import join


def before(
    snapshot: Snapshot, node: str, *, allow_degraded: bool = False, despite: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Whether `node` may be taken down now: all else is well, the rest can carry the cluster, and it would return.

    The floor is never lowered: the healthy voters other than `node` form a majority of all voters, and an API server
    or balancer other than `node` serves. Allowing a degraded cluster drops only the demand that all others be healthy.
    What lies on the node must let its services start again; checks in `despite` do not count there, for a change that
    mends just that.
    """
    _require(snapshot, node, despite)
    balancer = node in snapshot.plan.load_balancers
    rule = _balancer_floor if balancer else _control_plane_floor
    floor = tuple(Finding("gate.floor", node, said.level, said.text, said.hint) for said in rule(snapshot, node))
    wanted = [name for name in RETURN if name not in despite and not balancer]
    mine = judge(snapshot, wanted, nodes={node})
    spoiled = tuple(found for found in mine if found.node == node and found.level == "fail")
    if allow_degraded:
        return floor + spoiled
    others = judge(snapshot, gate_checks("before"), nodes=snapshot.nodes.keys() - {node})
    return floor + spoiled + tuple(finding for finding in others if finding.node != node and finding.blocks)


def after(snapshot: Snapshot, node: str, *, despite: Collection[str] = ()) -> tuple[Finding, ...]:
    """Whether `node` is back: reachable, its units up, its member caught up, its API server ready and in use.

    Checks in `despite` do not count: what was not well before a change says nothing about it.
    """
    _require(snapshot, node, despite)
    balancer = node in snapshot.plan.load_balancers
    found = judge(snapshot, [name for name in gate_checks("after") if name not in despite], nodes={node})
    mine = tuple(finding for finding in found if finding.node == node)
    shared = tuple(f for f in found if not f.node and f.blocks and f.check.startswith("lb." if balancer else "etcd."))
    serving = (_serves(snapshot.nodes[node]),) if balancer else ()
    return mine + shared + tuple(Finding("lb.serving", node, said.level, said.text, said.hint) for said in serving)


def summary(snapshot: Snapshot) -> str:
    """The fault tolerance in words, offering to take down only a node whose gate is open."""
    return membership(snapshot).words(stoppable(snapshot))


def stoppable(snapshot: Snapshot) -> tuple[str, ...]:
    """The control-plane nodes whose gate is open, in the order of the arithmetic."""
    nodes = (name for name in membership(snapshot).stoppable if name in snapshot.nodes)
    return tuple(name for name in nodes if not any(found.blocks for found in before(snapshot, name)))


def _require(snapshot: Snapshot, node: str, despite: Collection[str]) -> None:
    if node not in snapshot.nodes:
        raise UsageError(f"{node!r} is not in the inventory", hint=f"Its nodes: {join(snapshot.nodes)}.")
    if strange := [name for name in despite if name not in CHECKS]:
        raise UsageError(f"there is no check called {strange[0]!r}", hint=f"The checks are: {', '.join(CHECKS)}.")


def _control_plane_floor(snapshot: Snapshot, node: str) -> Iterator[Verdict]:
    members = membership(snapshot)
    if [member.name for member in members.voters] == [node]:
        yield ok("the only member: the API is away while it is down")
        return
    rest = sum(member.name != node for member in members.healthy)
    text = f"without {node}, {rest} of {len(members.voters)} voters are healthy; {members.quorum} are needed"
    if members.may_stop(node):
        yield ok(text)
    elif all(status.error for status in snapshot.etcd.statuses.values()):
        yield unknown("no etcd member could be asked", "Nothing is taken down while quorum is not known.")
    else:
        yield fail(text, "Bring the other members back first; this floor cannot be lowered.")
    yield from _api_floor(snapshot, node)


def _api_floor(snapshot: Snapshot, node: str) -> Iterator[Verdict]:
    ready = {n for n, facts in snapshot.control_plane.items() if facts.host and _ready(facts)}
    if node in ready and len(ready) == 1:
        yield fail(f"{node} is the only ready API server", "Bring another API server back first.")


def _balancer_floor(snapshot: Snapshot, node: str) -> Iterator[Verdict]:
    others = [facts for name, facts in snapshot.load_balancers.items() if name != node]
    if not others:
        yield ok("the only balancer: the endpoint is away while it is down")
        return
    verdicts = {facts.name: _serves(facts) for facts in others}
    serving = [name for name, said in verdicts.items() if said.level == "ok"]
    if serving:
        yield ok(f"{join(serving)} can carry the endpoint")
    else:
        yield from verdicts.values()


def _serves(facts: NodeFacts) -> Verdict:
    if facts.host is None:
        return unknown(f"{facts.name} is not known: {facts.error}", facts.hint)
    down = [
        name for name in UNITS["load_balancer"] if name not in facts.host.units or not facts.host.units[name].running
    ]
    if down:
        return fail(f"{facts.name}: {join(down)} not running", f"On {facts.name}: systemctl status {' '.join(down)}")
    if not any(server.status.startswith("UP") for server in facts.host.servers.values()):
        return fail(f"{facts.name} sees no API server up", "Look at api.ready, and at the route from it to port 6443.")
    return ok(f"{facts.name} serves")


def _ready(facts: NodeFacts) -> bool:
    probe = facts.host.probes.get("readyz") if facts.host else None
    return probe is not None and probe.ok
