"""Rotate CAs and the service-account key: trust old and new, issue with the new, trust the new alone; all of it proven.

How far that has come is read from the nodes, both generations included, so that a run that was cut off anywhere is
taken up by the same command. Keys are in this process's memory, and on the nodes.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cpkit import ansible, kubeconfig
from cpkit.backup.handing import handed_files
from cpkit.errors import CpkitError, Refused, Unreachable
from cpkit.facts import edges
from cpkit.facts.collect import collect
from cpkit.facts.files import read_files
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.edges import judge_edges
from cpkit.inventory import Cluster, Endpoint
from cpkit.journal import Run, owner, unfinished
from cpkit.operations.access import write_kubeconfig
from cpkit.operations.authorities import PASSES, Plan, beyond, passing, plan, trusted, unknown
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.presenting import Presented, presented
from cpkit.operations.publishing import AGAIN, Api, account, publish
from cpkit.operations.turning import ending_turns, looking, stepping_down
from cpkit.pki.authorities import SERVICE_ACCOUNT_PUBLIC, SHARED_FILES, Authorities
from cpkit.pki.succession import FILES, STAGES, WORDS, Name, Stage, Succession, aside, begin, taken_up
from cpkit.rolling import GATE, Engine, Halt, Turn, halting
from cpkit.runs import drawn_run
from cpkit.ssh import connect

OPERATION = "rotate-authorities"
PROVEN = 180.0  # seconds in which every edge must answer as it should; files are taken up within a minute
READ = 10.0


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    names: tuple[Name, ...]
    pause: bool = False  # before the old ones are distrusted
    dry_run: bool = False
    allow_degraded: bool = False
    kubeconfig: Path | None = None
    merge: bool = False
    become_password: str = field(default="", repr=False)


@dataclass
class Result:
    """How it ended."""

    plan: Plan
    directory: Path
    seconds: float = 0.0
    availability: str = ""
    failed: int = 0
    proven: int = 0  # handshakes that said what they should
    paused: bool = False
    presenting: tuple[Presented, ...] = ()  # who still shows what the new CA did not issue
    kubeconfig: Path | None = None


def rotate_authorities(
    cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result:
    """Replace the authorities that are named, or finish what an earlier run began."""
    if options.kubeconfig:
        kubeconfig.check(options.kubeconfig, cluster.name, merge=options.merge)
    ansible.program()
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        with stepping(run, listener)("Look at the cluster"):
            snapshot = _look(cluster)
            found = plan(snapshot, options.names)
        done = Result(found, run.directory)
        if not _over(cluster, snapshot, found) and not options.dry_run:
            if not confirm(describe(cluster, found, pause=options.pause)):
                raise Refused("not confirmed", hint="Nothing was changed.")
            succession = _succession(cluster, snapshot, found)
            with _reported(cluster, run, watch, succession, done) as watcher:
                _Work(cluster, options, succession, Plays(run, listener), watcher, done).go()
        if not options.dry_run and not done.paused:
            run.write("target", names=found.names)
            run.write("finished")
        if options.kubeconfig and not options.dry_run:
            write_kubeconfig(cluster, options.kubeconfig, merge=options.merge)
            done.kubeconfig = options.kubeconfig
        done.seconds = time.time() - run.started
        return done


def _look(cluster: Cluster) -> Snapshot:
    """A snapshot in which every node told what it holds, or the last of those that were taken in a while."""
    seen: list[Snapshot] = []

    def silent(snapshot: Snapshot) -> tuple[Finding, ...]:
        seen[:] = [snapshot]
        return tuple(Finding("node.reachable", name, "unknown", why) for name, why in unknown(snapshot).items())

    settle(lambda: collect(cluster), silent, deadline=GATE)
    return seen[0]


def describe(cluster: Cluster, plan: Plan, *, pause: bool) -> str:
    """The plan in lines."""
    head = "this finishes a rotation that an earlier run began" if plan.resumed else "this replaces"
    lines = [f"{cluster.name}: {head}: {', '.join(WORDS[name] for name in plan.names)}"]
    for number, stage in enumerate(STAGES, 1):
        units = ", ".join(plan.restarts[stage]) or "nothing"
        lines.append(f"  {number}. {PASSES[stage].lower()}, one node after the other; restarted on each: {units}")
        if stage == "issue" and pause:
            lines.append("     then it stops; the same command without --pause-before-distrust goes on")
    lines.append("  After each, handshakes with old and new credentials prove on every node what is accepted.")
    if "cluster" in plan.names:
        lines.append("  Your own kubeconfigs and kubelets that hold old certificates are refused after step 3.")
        if not cluster.load_balancers:
            lines.append("  Your balancer must trust both CAs before step 2, if it verifies the API servers.")
    if "service_account" in plan.names:
        lines.append("  Tokens that were issued before step 2 are refused after step 3, those in Secrets too.")
    return "\n".join(lines)


def _over(cluster: Cluster, snapshot: Snapshot, plan: Plan) -> bool:
    """Whether an earlier run had done all, and was cut off when only its last word was missing."""
    earlier = unfinished(cluster.name, OPERATION)
    if plan.resumed or not earlier or "new" not in earlier:
        return False
    held = [
        {name: trusted(facts, name) for name in plan.names} for facts in snapshot.control_plane.values() if facts.host
    ]
    return all(each == {name: (mark,) for name, mark in earlier["new"].items()} for each in held)


def _succession(cluster: Cluster, snapshot: Snapshot, plan: Plan) -> Succession:
    """Both generations: from a node that keeps them, or new ones beside what every node holds."""
    holds = [
        name
        for name, facts in snapshot.control_plane.items()
        if facts.host and facts.host.rotation and set(facts.host.rotation.new) >= set(plan.new)
    ]
    node = next(node for node in cluster.control_plane if node.name in holds)
    wanted = [*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC]
    if plan.resumed:
        wanted += [aside(path, each) for name in plan.names for path in FILES[name] for each in ("old", "new")]
    with connect(node) as connection:
        held = {path: data.decode() for path, data in read_files(connection, wanted, timeout=READ).items()}
    try:
        if plan.resumed:
            return taken_up(held, plan.names)
        spec = cluster.spec
        return begin(Authorities.from_files(held), plan.names, key_type=spec.pki_key_type, ca_days=spec.pki_ca_days)
    except ValueError as error:
        raise Refused(f"{error}", node=node.name, hint="Look: cpkit certs. Nothing was changed.") from error


@contextmanager
def _reported(
    cluster: Cluster, run: Run, watch: WatchFactory, succession: Succession, done: Result
) -> Iterator[Watcher]:
    """Watch the API meanwhile, trusting both generations, and write the report however it ends."""
    directly = {node.name: Endpoint(node.address) for node in cluster.control_plane}
    both = succession.at("issue").cluster.bundle_pem
    watcher = watch(cluster.endpoint, both, directly).start()
    try:
        yield watcher
    finally:
        seen = watcher.stop()
        done.availability, done.failed = str(seen), int(asdict(seen)["failed"])
        run.report(
            availability=asdict(seen),
            authorities=succession.fingerprints,
            resumed=done.plan.resumed,
            proven=done.proven,
            paused=done.paused,
            presenting=[asdict(each) for each in done.presenting],
        )


@dataclass(frozen=True)
class _Work:
    cluster: Cluster
    options: Options
    succession: Succession
    plays: Plays
    watcher: Watcher
    done: Result

    def go(self) -> None:
        """Stage after stage under the cluster's lock, and at the end the nodes let go of the old ones."""
        generations = edges.Generations(
            {"old": self.succession.old, "new": self.succession.new}, self.succession.names, self._account()
        )
        with halting(self._told) as halt, self.plays.locked(self._play("lock.yml")):
            self.plays.run.write("target", names=self.succession.names, new=self.succession.fingerprints)
            for stage in STAGES:
                if not self._roll(stage, halt):
                    self._settle(stage, generations)
                if stage == "issue" and self._pauses():
                    return
            with self._step("Let go of the old authorities"):
                self.plays.apply(self._play("forget_authorities.yml"))

    def _roll(self, stage: Stage, halt: Halt) -> bool:
        """Take every node through a stage; whether any is beyond it already, so that an earlier run proved it."""
        marks = self.succession.fingerprints
        with handed_files(self.succession.files(stage)) as descriptor:
            plays = replace(self.plays, keep_open=(descriptor,))

            def turn(now: Turn) -> None:
                variables = {**now.step.variables, "gate_despite": sorted(now.despite)}
                self.watcher.touching(now.node)
                plays.apply(self._play(now.step.playbook, limit=now.node, **variables))

            look = looking(self.cluster, self.plays.run)
            engine = Engine(
                look,
                turn,
                ending_turns(self.watcher, self._step),
                halt,
                self.options.allow_degraded,
                stepping_down(self.cluster, self.plays.run, self._step),
            )
            engine.run([passing(stage, marks, {"authorities_descriptor": descriptor})])
        return beyond(look(), stage, marks)

    def _settle(self, stage: Stage, generations: edges.Generations) -> None:
        """What goes with a stage outside the nodes, and the proof without which the next one does not begin."""
        at = self.succession.at("issue" if stage == "trust" else stage)
        if "cluster" in self.succession.names:
            if stage != "issue" and self.cluster.load_balancers:
                with self._step(f"{PASSES[stage]} on the balancers"):
                    bundle = at.cluster.bundle_pem
                    self.plays.apply(
                        self._play("rotate_balancers.yml", load_balancer_authority=bundle, gate_asked=True)
                    )
            if stage != "issue":
                with self._step(f"{PASSES[stage]} in every namespace"):
                    publish(Api(self.cluster), at.cluster.bundle_pem, self.plays.listener)
        with self._step(f"{PASSES[stage]}: prove it on every edge"):
            self._prove(stage, generations)

    def _prove(self, stage: Stage, generations: edges.Generations) -> None:
        found = settle(
            lambda: edges.look(self.cluster, generations), lambda seen: judge_edges(seen, stage), deadline=PROVEN
        )
        blocking = [each for each in found if each.blocks]
        if blocking:
            first = blocking[0]
            kind = CpkitError if any(each.level == "fail" for each in blocking) else Unreachable
            more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
            raise kind(f"{first.text}{more}", node=first.node, hint=f"The next stage was not begun. {AGAIN}")
        self.done.proven += len(found)

    def _pauses(self) -> bool:
        """Whether it stops before the old ones are distrusted, which none of the nodes has begun with."""
        snapshot = collect(self.cluster)
        if "cluster" in self.succession.names:
            self.done.presenting = presented(self.cluster, snapshot, self.succession.new.cluster)
        self.done.paused = self.options.pause and not beyond(snapshot, "issue", self.succession.fingerprints)
        return self.done.paused

    def _account(self) -> edges.Account | None:
        if "service_account" not in self.succession.names:
            return None
        return account(Api(self.cluster), f"https://kubernetes.default.svc.{self.cluster.spec.cluster_dns_domain}")

    def _step(self, name: str) -> AbstractContextManager[None]:
        return stepping(self.plays.run, self.plays.listener)(name)

    def _told(self) -> None:
        self.plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    def _play(self, playbook: str, limit: str = "", **variables: object) -> ansible.Play:
        given = {**variables, "claim_owner": owner()}
        password = self.options.become_password
        return ansible.Play(playbook, self.cluster.inventory, limit=limit, variables=given, become_password=password)
