"""Rotate CAs and the service-account key: trust old and new, issue with the new, trust the new alone; all of it proven.

How far that has come is read from the nodes, both generations included, so that a run that was cut off anywhere is
taken up by the same command. Keys are in this process's memory, and on the nodes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cpkit import ansible, kubeconfig
from cpkit.errors import Refused
from cpkit.facts.files import read_files
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster, Endpoint
from cpkit.journal import Run, unfinished
from cpkit.operations.access import write_kubeconfig
from cpkit.operations.authorities import PASSES, Plan, plan, trusted
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.stages import Come, Stages
from cpkit.operations.turning import look_at_all
from cpkit.pki.authorities import SERVICE_ACCOUNT_PUBLIC, SHARED_FILES, Authorities
from cpkit.pki.succession import FILES, STAGES, WORDS, Name, Succession, aside, begin, taken_up
from cpkit.runs import drawn_run
from cpkit.ssh import connect

OPERATION = "rotate-authorities"
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
    come: Come = field(default_factory=Come)
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
            snapshot = look_at_all(cluster)
            found = plan(snapshot, options.names)
        done = Result(found, run.directory)
        if not _over(cluster, snapshot, found) and not options.dry_run:
            if not confirm(describe(cluster, found, pause=options.pause)):
                raise Refused("not confirmed", hint="Nothing was changed.")
            succession = _succession(cluster, snapshot, found)
            with _reported(cluster, run, watch, succession, done) as watcher:
                how = (options.pause, options.allow_degraded, options.become_password)
                Stages(cluster, succession, Plays(run, listener), watcher, done.come, *how).go()
        if not options.dry_run and not done.come.paused:
            run.write("target", names=found.names)
            run.write("finished")
        if options.kubeconfig and not options.dry_run:
            write_kubeconfig(cluster, options.kubeconfig, merge=options.merge)
            done.kubeconfig = options.kubeconfig
        done.seconds = time.time() - run.started
        return done


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
    # No administrator's certificate is good from the beginning to the end of this.
    watcher = watch(cluster.endpoint, both, directly, None).start()
    try:
        yield watcher
    finally:
        seen = watcher.stop()
        done.availability, done.failed = str(seen), int(asdict(seen)["failed"])
        run.report(
            availability=asdict(seen),
            authorities=succession.fingerprints,
            resumed=done.plan.resumed,
            proven=done.come.proven,
            paused=done.come.paused,
            presenting=[asdict(each) for each in done.come.presenting],
        )
