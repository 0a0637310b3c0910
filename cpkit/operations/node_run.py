"""What adding, removing and replacing nodes share: the run and its report, its plays, and the steps they all make."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.errors import CpkitError, Locked, Refused, Unreachable
from cpkit.facts.collect import collect
from cpkit.facts.ground import survey
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, gate, settle
from cpkit.health.change import Stage
from cpkit.health.standing import refuse_other_versions
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations import node_plan, preflight
from cpkit.operations.access import watching
from cpkit.operations.authorities import new_ones
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.restore_plan import under_way
from cpkit.operations.turning import Stepping, ending_turns, looking
from cpkit.pki.succession import flags
from cpkit.rolling import Engine, Pass, Turn, halting

BACK = 90.0  # seconds a node, or etcd, may take to be well after it was changed
SHORT_LOOK, LONG_LOOK, PATIENCE = 5.0, 15.0, 60.0  # seconds; a machine with much to do is not dead
TELL = "Tell the API server of the members"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    nodes: tuple[str, ...]  # names, or NAME=ADDRESS of new ones
    address: str = ""  # of the machine that takes a node's place
    abandon_data: bool = False
    allow_degraded: bool = False
    ignore: frozenset[str] = frozenset()
    dry_run: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    cluster: str
    plan: str
    done: bool = False  # whether anything was changed
    summary: str = ""  # how many may fail now
    seconds: float = 0.0
    availability: str = ""
    remarks: tuple[str, ...] = ()
    directory: Path | None = None


@dataclass(frozen=True)
class Ask:
    """How whoever asked is shown a plan, and who watches the API meanwhile."""

    listener: Listener
    confirm: Confirm
    watch: WatchFactory


@dataclass
class Work:
    """A change of nodes under way."""

    cluster: Cluster  # as the inventory has it now
    options: Options
    plays: Plays
    step: Stepping
    watcher: Watcher
    availability: str = ""

    def play(self, playbook: str, limit: Collection[str], **variables: object) -> None:
        """Run a play on some of the nodes."""
        self.plays.apply(self._play(playbook, limit, variables))

    @contextmanager
    def locked(self, limit: Collection[str]) -> Iterator[None]:
        """Hold the cluster's lock on these nodes."""
        with self.plays.locked(self._play("lock.yml", limit, {})):
            yield

    def look(self, *, besides: Collection[str] = ()) -> Snapshot:
        """The cluster as it is now, without some nodes."""
        return collect(node_plan.reduced(self.cluster, besides))

    def look_well(self, besides: Collection[str] = ()) -> Snapshot:
        """The cluster as it is once all nodes but some answer."""
        return look_well(self.cluster, besides)

    def _play(self, playbook: str, limit: Collection[str], variables: dict[str, object]) -> ansible.Play:
        return ansible.Play(
            playbook,
            self.cluster.inventory,
            limit=",".join(limit),
            variables={"claim_owner": owner(), **variables},
            become_password=self.options.become_password,
        )


def look_well(cluster: Cluster, besides: Collection[str], *, etcd: bool = True) -> Snapshot:
    """A look at a cluster; one that misses a node besides those named may only have been too short, and is repeated."""
    seen: list[Snapshot] = []

    def missed(snapshot: Snapshot) -> list[Finding]:
        seen[:] = [snapshot]
        unheard = node_plan.unheard(snapshot, etcd=etcd)
        silent = [name for name in unheard if name not in besides or node_plan.reached(snapshot, name)]
        return [Finding("node.reachable", name, "unknown", "it did not answer") for name in silent]

    settle(lambda: collect(cluster, deadline=LONG_LOOK if seen else SHORT_LOOK), missed, deadline=PATIENCE)
    return seen[0]


@contextmanager
def working(cluster: Cluster, options: Options, run: Run, ask: Ask) -> Iterator[Work]:
    """Watch the API while nodes are changed, and write the report however it ends."""
    watcher = watching(cluster, ask.watch, nodes=True)
    work = Work(cluster, options, Plays(run, ask.listener), stepping(run, ask.listener), watcher)
    try:
        yield work
    finally:
        seen = watcher.stop()
        work.availability = str(seen)
        run.report(nodes=options.nodes, availability=asdict(seen))


def refuse_unfinished(cluster: Cluster, snapshot: Snapshot) -> None:
    """Raise while an upgrade, a rotation of CAs or a restore was begun and is not over."""
    refuse_other_versions(snapshot)
    rotated = new_ones(snapshot)
    if rotated:
        raise Refused(
            "a rotation of CAs is under way, and its nodes must stay the same until it is over",
            hint=f"Finish it first: cpkit rotate-certs {flags(tuple(rotated))}",
        )
    begun = under_way(survey(cluster, ()))
    if begun:
        raise Refused(
            f"a restore of {begun.backup} is under way",
            hint="Finish it with the same command, or go back: cpkit restore etcd --abort",
        )


def check_machines(cluster: Cluster, options: Options, names: Collection[str], listener: Listener) -> None:
    """Preflight of machines that are to join; the cluster's other nodes are none of its business."""
    report = preflight.run(cluster, ignore=options.ignore, progress=listener.status)
    mine = [found for found in report.counted if found.node in names and found.level != "ok"]
    for found in mine:
        listener.say(f"{found.level:7} {found.check}  {found.node}: {found.text}")
        if found.hint:
            listener.say(f"        {found.hint}")
    blocking = [found for found in mine if found.blocks]
    if blocking:
        kind = Refused if any(found.level == "fail" for found in blocking) else Unreachable
        raise kind(
            f"{blocking[0].check}: {blocking[0].text}",
            node=blocking[0].node,
            hint="Nothing was changed. Mend what is named above, or pass --ignore NAME for what you know better.",
        )


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


def wait(
    work: Work, judged: Callable[[Snapshot], Sequence[Finding]], what: str, *, besides: Collection[str] = ()
) -> None:
    """Wait until nothing of what is judged is amiss."""

    def check(snapshot: Snapshot) -> Sequence[Finding]:
        found = judged(snapshot)
        blocking = next((each for each in found if each.blocks), None)
        if blocking:
            work.plays.listener.status(f"waiting: {blocking.node or 'cluster'}: {blocking.text}")
        return found

    node_plan.unwell(settle(lambda: work.look(besides=besides), check, deadline=BACK), what)


def back(names: Collection[str]) -> Callable[[Snapshot], Sequence[Finding]]:
    """Judges whether nodes are whole parts of the cluster."""
    return lambda snapshot: [found for name in names for found in gate.after(snapshot, name)]


def ended(work: Work, run: Run, stages: Sequence[Stage], plan: str, remarks: Sequence[str]) -> Result:
    """How a change of nodes ended."""
    snapshot = work.look_well()
    run.write("members", stages=[stage.words for stage in stages])
    return Result(
        cluster=work.cluster.name,
        plan=plan,
        done=True,
        summary=gate.summary(snapshot),
        seconds=time.time() - run.started,
        remarks=tuple(remarks),
        directory=run.directory,
    )


def with_watch(result: Result, work: Work) -> Result:
    """The result with what the watch saw, which is known once it has ended."""
    return replace(result, availability=work.availability)
