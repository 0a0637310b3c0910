"""Rotate leaves that a CA elsewhere signs: requests out into a folder, certificates in from the same folder.

Keys wait on the nodes for their certificates, so what is under way is known from there alone. What comes back is
verified as a whole before any node is touched, then laid down and proven in use as a rotation does with its own.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cpkit import ansible, kubeconfig
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.collect import collect
from cpkit.facts.requests import Waiting, read_requests
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations.access import watching, write_kubeconfig
from cpkit.operations.authorities import unknown
from cpkit.operations.interrupting import interruptible
from cpkit.operations.leaves import due
from cpkit.operations.listener import Confirm, Listener, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.rotation import Options
from cpkit.operations.signing import Taking, installing, places, taking
from cpkit.operations.signing_folder import Folder, Place, read_folder, write_folder
from cpkit.operations.turning import look_at_all, looking
from cpkit.pki.leaves import NAMES, leaf_path
from cpkit.rolling import Engine, Turn, halting, todo
from cpkit.runs import drawn_run

OPERATION = "rotate-signed"


@dataclass(frozen=True)
class Result:
    """How it ended: what was asked for, or what was taken into use, with the new serial."""

    asked: tuple[Place, ...] = ()
    taken: tuple[tuple[Place, str], ...] = ()
    seconds: float = 0.0
    availability: str = ""
    kubeconfig: Path | None = None
    directory: Path | None = None


@dataclass(frozen=True)
class _Signed:
    """One run, and what it saw at its beginning."""

    cluster: Cluster
    folder: Folder
    options: Options
    plays: Plays
    confirm: Confirm
    snapshot: Snapshot
    waiting: Mapping[str, Waiting]

    @property
    def run(self) -> Run:
        """Where it is written down."""
        return self.plays.run

    def play(self, playbook: str, limit: str = "", **variables: object) -> ansible.Play:
        """A play of this run."""
        given = {**variables, "claim_owner": owner()}
        password = self.options.become_password
        return ansible.Play(playbook, self.cluster.inventory, limit=limit, variables=given, become_password=password)

    def agree(self, plan: str) -> None:
        """Ask whether to go on; Refused if not."""
        if not self.confirm(plan):
            raise Refused("not confirmed", hint="Nothing was changed.")


def rotate_signed(
    cluster: Cluster, folder: Path, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result:
    """Write requests for what is due into a folder; or take the certificates that lie beside them into use."""
    if options.kubeconfig:
        kubeconfig.check(options.kubeconfig, cluster.name, merge=options.merge)
    ansible.program()
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        with stepping(run, listener)("Look at the cluster"):
            snapshot = look_at_all(cluster)
            for name, why in unknown(snapshot).items():
                raise Unreachable(f"its certificates are not known: {why}", node=name, hint=snapshot.nodes[name].hint)
            held = read_folder(folder, tuple(node.name for node in cluster.control_plane))
            waiting = read_requests(cluster)
        signed = _Signed(cluster, held, options, Plays(run, listener), confirm, snapshot, waiting)
        if held.certificates:
            return _take(signed, watch)
        return _ask(signed)


def _ask(signed: _Signed) -> Result:
    """Have keys and requests made on the nodes, and write the requests into the folder."""
    if signed.folder.strange:
        first = signed.folder.strange[0]
        raise UsageError(f"{signed.folder.path} holds other files, as {first}", hint="Name a folder of its own.")
    only = signed.options.renewal.only
    wanted = {
        node: set(leaves) for node, leaves in due(signed.cluster, signed.snapshot, signed.options.renewal).nodes.items()
    }
    for node, held in signed.waiting.items():
        wanted[node] |= {leaf for leaf in held.requests if not only or leaf in only}
    leaves = {place: leaf for place, leaf in places(signed.cluster).items() if place[1] in wanted[place[0]]}
    asked = tuple(leaves)
    if signed.options.dry_run or not asked:
        return Result(asked, directory=signed.run.directory)
    nodes = len({node for node, _ in asked})
    signed.agree(
        f"{signed.cluster.name}: {len(asked)} leaves on {nodes} nodes are asked for, in {signed.folder.path}\n"
        "  New keys wait on the nodes; what is in use stays as it is."
    )
    with signed.plays.locked(signed.play("lock.yml")):
        with stepping(signed.run, signed.plays.listener)("Make keys and requests on the nodes"):
            named = {node: sorted(names) for node, names in wanted.items()}
            signed.plays.apply(signed.play("request_leaves.yml", leaves_requested=named))
        with stepping(signed.run, signed.plays.listener)("Write the requests"):
            write_folder(signed.folder.path, read_requests(signed.cluster), leaves)
    signed.run.report(asked=[list(place) for place in asked])
    return Result(asked, seconds=time.time() - signed.run.started, directory=signed.run.directory)


def _take(signed: _Signed, watch: WatchFactory) -> Result:
    """Verify everything, then lay it down node after node, proven in use on each."""
    leaves = places(signed.cluster)
    found = taking(leaves, signed.waiting, signed.folder, signed.snapshot, signed.options.renewal.only)
    order = todo(installing(found), signed.snapshot)
    named = tuple((node, leaf) for node, each in found.certificates.items() for leaf in each)
    if signed.options.dry_run or not (named or order):
        return Result(taken=tuple((place, "") for place in named), directory=signed.run.directory)
    lines = [f"{signed.cluster.name}: these leaves came back signed, and are taken into use, without a restart:"]
    lines += [f"  {node}  {_words(found.certificates.get(node, {}))}" for node in order]
    signed.agree("\n".join(lines))
    watcher = watching(signed.cluster, watch, nodes=True)
    told: list[dict[str, str]] = []
    try:
        _roll(signed, found)
        serials = _serials(collect(signed.cluster))
        before = _serials(signed.snapshot)
        told += [
            {"node": place[0], "leaf": place[1], "old": before.get(place, ""), "new": serials[place]} for place in named
        ]
    finally:
        seen = watcher.stop()
        signed.run.report(availability=asdict(seen), renewed=told)
    written = signed.options.kubeconfig
    if written:
        write_kubeconfig(signed.cluster, written, merge=signed.options.merge)
    taken = tuple((place, serials[place]) for place in named)
    return Result((), taken, time.time() - signed.run.started, str(seen), written, signed.run.directory)


def _roll(signed: _Signed, found: Taking) -> None:
    """Node after node under the cluster's lock; at the end the nodes let go of the requests."""
    step = stepping(signed.run, signed.plays.listener)

    def turn(now: Turn) -> None:
        given = {**now.step.variables, "gate_despite": sorted(now.despite), "leaves_signed": found.on(now.node)}
        signed.plays.apply(signed.play(now.step.playbook, limit=now.node, **given))

    def told() -> None:
        signed.plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    with halting(told) as halt, signed.plays.locked(signed.play("lock.yml")):
        look = looking(signed.cluster, signed.run)
        Engine(look, turn, step, halt, signed.options.allow_degraded).run([installing(found)])
        with step("Let go of the requests"):
            signed.plays.apply(signed.play("answered_leaves.yml", leaves_answered=found.answered))


def _serials(snapshot: Snapshot) -> dict[Place, str]:
    paths = {leaf_path(name): name for name in NAMES}
    return {
        (node, paths[each.path]): each.serial
        for node, facts in snapshot.control_plane.items()
        for each in facts.certificates
        if each.path in paths
    }


def _words(leaves: Mapping[str, str]) -> str:
    if len(leaves) == len(NAMES):
        return f"all {len(NAMES)} leaves"
    return ", ".join(leaves) or "only to be verified"
