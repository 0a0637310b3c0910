"""How a cluster is told who its members and its API servers are, once they have changed."""

from collections.abc import Collection

from cpkit.errors import CpkitError, Locked
from cpkit.facts.snapshot import Snapshot
from cpkit.operations import node_plan
from cpkit.operations.node_run import Work
from cpkit.operations.turning import ending_turns, looking
from cpkit.rolling import Engine, Pass, Turn, halting

TELL = "Tell the API server of the members"


def balance(work: Work, snapshot: Snapshot, leaving: Collection[str] = ()) -> None:
    """Tell every balancer that answers of the API servers."""
    answering = node_plan.present(snapshot)
    balancers = [name for name in snapshot.plan.load_balancers if name in answering]
    for name in snapshot.plan.load_balancers:
        if name not in balancers:
            work.plays.listener.say(f"{name} does not answer; once it is back, tell it by: cpkit bootstrap")
    if not balancers:
        return
    present = [name for name in snapshot.plan.control_plane if name in answering and name not in leaving]
    with work.step("Tell the balancers of the API servers"):
        limit = [*present, *balancers]
        work.play("balance.yml", limit, node_present=present, cluster__leaving=sorted(leaving))


def tell_servers(work: Work, *, leaving: Collection[str] = (), gone: Collection[str] = ()) -> tuple[Turn, ...]:
    """Have every API server know etcd's members: those that do not are started anew, one gated node at a time.

    Nodes that are `gone` are no part of the cluster any longer; those that are `leaving` are, and stay as they are.
    """
    addresses = {node.name: node.address for node in work.cluster.control_plane}
    servers = node_plan.servers([addresses[name] for name in addresses if name not in (*leaving, *gone)])
    unheard = set() if not work.options.allow_degraded else _silent(work, gone)
    view = node_plan.reduced(work.cluster, {*gone, *unheard})

    def done(snapshot: Snapshot, node: str) -> bool:
        return node in leaving or node_plan.knows(snapshot, node, servers)

    def turn(now: Turn) -> None:
        work.watcher.touching(now.node)
        try:
            work.play(now.step.playbook, [now.node], **now.step.variables, gate_despite=sorted(now.despite))
        except CpkitError as error:
            if not isinstance(error, Locked):
                error.hint = f"No other node was touched. {error.hint}"
            raise

    def told() -> None:
        work.plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    variables = {"gate_asked": True, "cluster__leaving": sorted({*leaving, *gone})}
    telling = Pass(TELL, "reconfigure_kube_apiserver.yml", done, variables)
    with halting(told) as halt:
        look = looking(view, work.plays.run)
        engine = Engine(look, turn, ending_turns(work.watcher, work.step), halt, work.options.allow_degraded)
        return engine.run([telling])


def _silent(work: Work, gone: Collection[str]) -> set[str]:
    """In a degraded cluster, nodes that do not answer are told by another run."""
    snapshot = work.look(besides=gone)
    return {name for name, facts in snapshot.control_plane.items() if facts.host is None}
