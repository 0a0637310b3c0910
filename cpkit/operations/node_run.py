"""What adding, removing and replacing nodes share: the run and its report, its plays, and the steps they all make."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, gate, settle
from cpkit.health.change import Stage
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations import node_plan
from cpkit.operations.access import watching
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.node_checks import look_well
from cpkit.operations.plays import Plays
from cpkit.operations.turning import Stepping

BACK = 90.0  # seconds a node, or etcd, may take to be well after it was changed


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
