"""The parts of a rotation of the encryption key: passes over the nodes, and what is waited for between."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from ssl import SSLContext

from cpkit import ansible
from cpkit.backup import Sealing
from cpkit.errors import CpkitError, Refused, Unreachable
from cpkit.facts.collect import collect
from cpkit.facts.encryption import Reading, read, settled, unreadable
from cpkit.facts.snapshot import Snapshot
from cpkit.handing import handed
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations.access import watching
from cpkit.operations.encryption_objects import counted, rewrite, stale
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Listener, WatchFactory, stepping
from cpkit.operations.patching import Patcher
from cpkit.operations.plays import Plays
from cpkit.operations.rewriting import Rewriter
from cpkit.pki.authorities import ENCRYPTION
from cpkit.pki.encryption import Configuration, Rotation, with_keys
from cpkit.pki.envelope import resealer
from cpkit.rolling import Engine, Pass, Turn, halting

OPERATION = "rotate-encryption"
PLAYBOOK = "rotate_encryption.yml"
RELOAD = 150.0  # seconds in which an API server takes its file up; it looks once a minute
POLL = 2.0
SLOW = 30.0  # seconds in which a node that did not answer is asked again
NAMES = {"add": "Add the new key", "promote": "Write with the new key", "drop": "Drop the old key"}


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    store: str = ""
    no_backup: bool = False
    sealing: Sealing = field(default=None, repr=False)
    dry_run: bool = False
    become_password: str = field(default="", repr=False)


@dataclass
class Result:
    """How it ended."""

    plan: Rotation
    written: int = 0
    rate: float = 0.0
    availability: list[str] = field(default_factory=list)
    failed: int = 0
    stored: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    backup: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """What a rotation works with."""

    cluster: Cluster
    options: Options
    listener: Listener
    watch: WatchFactory
    context: SSLContext
    plays: list[Plays] = field(default_factory=list)  # of the part under way

    @contextmanager
    def part(self, plan: Rotation, done: Result, *, last: bool = False) -> Iterator[None]:
        """A run under the lock, watched; a backup, which is a run of its own, lies between two."""
        with open_run(self.cluster.name, OPERATION) as run, interruptible(run):
            self.plays[:] = [Plays(run, self.listener)]
            run.write("target", key=plan.new.name)
            watcher = watching(self.cluster, self.watch)
            try:
                with self.plays[0].locked(self._play({})):
                    yield
                if last:
                    run.write("finished")
            finally:
                seen = watcher.stop()
                done.availability.append(str(seen))
                done.failed += int(asdict(seen)["failed"])
                run.report(availability=asdict(seen), key=plan.new.name, written=done.written, rate=round(done.rate))

    def keys(self, plan: Rotation, stages: tuple[str, ...]) -> None:
        """Stage after stage, one gated node at a time; the next one only when every API server works with this one."""
        for stage in stages:
            self._roll(plan, stage)
            with self._step(f"{NAMES[stage]}: wait until every API server has loaded it"):
                self._wait(plan, stage)

    def held(self) -> Mapping[str, Configuration]:
        """What every node holds; a machine that is only slow is asked again."""
        deadline = time.monotonic() + SLOW
        while True:
            readings = read(self.cluster, self.context)
            if not any(each.error and not each.text for each in readings.values()) or time.monotonic() > deadline:
                return settled(readings)
            time.sleep(POLL)

    def objects(self, plan: Rotation, done: Result) -> None:
        """Rewrite what is under another key, and prove from the raw bytes that nothing is any longer."""
        held = self.held()
        resources = next(iter(held.values())).resources
        old = stale(counted(self.cluster, resources), plan)
        if old and _dropping(held.values(), plan):
            hint = "Put the old key back second on every node by hand; nothing else was changed."
            raise Refused(f"{old} objects are under a key that not every node has", hint=hint)
        rewriter = self._rewriter(plan, old)
        with self._step("Rewrite every covered object"):
            rewrite(rewriter, self.cluster, resources, self.listener.say)
            done.written, done.rate = rewriter.written, rewriter.rate
        with self._step("Prove it from etcd's raw bytes"):
            done.stored = counted(self.cluster, resources)
            if left := stale(done.stored, plan):
                raise CpkitError(f"{left} objects are still under another key", hint="Run the same command again.")

    def _rewriter(self, plan: Rotation, total: int) -> Rewriter:
        patcher = Patcher(self.cluster.endpoint, self.context)
        return Rewriter(
            resealer(plan.new, plan.old),
            patcher,
            lambda where: unreadable(self.cluster, self.context, where),
            self.listener,
            total,
        )

    def _step(self, name: str) -> AbstractContextManager[None]:
        return stepping(self.plays[0].run, self.listener)(name)

    def _roll(self, plan: Rotation, stage: str) -> None:
        held = self.held()
        text = with_keys(next(iter(held.values())).rest, plan.wanted(stage))
        with handed({ENCRYPTION: text}) as descriptor, halting(self._told) as halt:
            plays = replace(self.plays[0], keep_open=(descriptor,))
            variables = {"encryption_keys_descriptor": descriptor, "gate_asked": True}

            def turn(now: Turn) -> None:
                plays.apply(replace(self._play(now.step.variables), playbook=PLAYBOOK, limit=now.node))

            step = Pass(NAMES[stage], PLAYBOOK, _done(plan, stage), variables)
            journal = stepping(plays.run, self.listener)
            Engine(lambda: collect(self.cluster), turn, journal, halt).run([step])

    def _wait(self, plan: Rotation, stage: str) -> None:
        deadline = time.monotonic() + RELOAD
        while True:
            readings = read(self.cluster, self.context)
            known = [each.configuration for each in readings.values() if each.configuration]
            ready = [each for each in readings.values() if _ready(each, plan, stage)]
            alike = stage != "promote" or len({each.digest for each in ready}) == 1 or _dropping(known, plan)
            if len(ready) == len(readings) and alike:
                return
            late = [name for name, each in readings.items() if each not in ready]
            if time.monotonic() > deadline:
                hint = f"Its log: journalctl -u kube-apiserver. Nothing was dropped. {_AGAIN}"
                what = readings[late[0]].error or "its API server has not loaded the file" if late else "files differ"
                raise Unreachable(what, node=late[0] if late else "", hint=hint)
            self.listener.status(f"{len(ready)} of {len(readings)} have; they look once a minute")
            time.sleep(POLL)

    def _told(self) -> None:
        self.listener.say("stopping after this node; Ctrl-C once more stops at once")

    def _play(self, variables: Mapping[str, object]) -> ansible.Play:
        given = {**variables, "claim_owner": owner()}
        password = self.options.become_password
        return ansible.Play(
            PLAYBOOK, self.cluster.inventory, limit="control_plane", variables=given, become_password=password
        )


_AGAIN = "Run the same command again: it goes on there."


def _done(plan: Rotation, stage: str) -> Callable[[Snapshot, str], bool]:
    ours = {key.fingerprint for key in (*plan.old, plan.new)}  # those of other providers, listed after them, stay

    def done(snapshot: Snapshot, node: str) -> bool:
        host = snapshot.nodes[node].host
        marks = {path.partition("#")[2]: key for path, key in (host.keys if host else {}).items() if "#" in path}
        known = plan.new.name not in marks or marks[plan.new.name].fingerprint == plan.new.fingerprint
        # What a cut left aside goes with the next turn of the node; after the last one, it would hold the old key.
        aside = stage == "drop" and host is not None and host.kept_encryption
        names = tuple(name for name, key in marks.items() if key.fingerprint in ours)
        return known and not aside and plan.done(stage, names)

    return done


def _ready(reading: Reading, plan: Rotation, stage: str) -> bool:
    held = reading.configuration
    return held is not None and reading.in_use and plan.done(stage, held.names)


def _dropping(held: Iterable[Configuration], plan: Rotation) -> bool:
    """Whether an earlier run had proven all and begun to drop the old key."""
    return any(plan.done("drop", each.names) for each in held)
