"""A restore that was checked and confirmed: the plays that change the nodes, and the proofs between them."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.backup import SNAPSHOT, Bundle, Opening, Sidecar
from cpkit.backup.handing import handed_key
from cpkit.backup.moment import Wish
from cpkit.errors import CpkitError, Interrupted
from cpkit.facts.ground import Ground, survey
from cpkit.health import Finding
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations.access import watching
from cpkit.operations.listener import Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.restore_places import Places
from cpkit.operations.restore_proof import Proof
from cpkit.operations.restore_under_way import UnderWay, present, restored_name

BRING = "Bring etcd back on all nodes"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    location: str
    backup: Sidecar
    key: Opening = field(repr=False)
    named: bool = True  # by the user; a restore that is under way goes before the latest backup
    dry_run: bool = False
    lost: frozenset[str] = frozenset()  # nodes that are gone for good
    places: Places = field(default_factory=dict)  # whose place each node takes, where the backup is of others
    become_password: str = field(default="", repr=False)
    wish: Wish = field(default=Wish())


@dataclass(frozen=True)
class Result:
    """How it ended."""

    backup: str
    revision: int  # of the backup
    now: int  # the revision etcd went on from
    resumed: bool
    seconds: float
    findings: tuple[Finding, ...]
    availability: str
    aside: tuple[str, ...]  # where the old data is
    directory: Path


@dataclass(frozen=True)
class Checked:
    """A backup and the nodes it may be restored on."""

    bundle: Bundle
    grounds: dict[str, Ground]
    found: UnderWay | None
    unbuilt: bool
    snapshot: int = -1  # the descriptor of a replay's snapshot; the backup's own is restored without one

    @property
    def name(self) -> str:
        """What is restored: the backup's name, and the revision if it is another than the backup's."""
        return restored_name(self.bundle.sidecar.name, self.bundle.manifest.revision if self.snapshot >= 0 else 0)


@dataclass(frozen=True)
class Restoring:
    """A restore that was checked and confirmed."""

    cluster: Cluster
    options: Options
    listener: Listener
    checked: Checked

    def carry_out(self, run: Run, watch: WatchFactory) -> Result:
        """Change the nodes, and prove what came of it."""
        step = stepping(run, self.listener)
        found = self.checked.found
        restore_id = found.restore if found else _new_id()
        run.write("target", restore=restore_id, backup=self.checked.name, resumed=bool(found))
        watcher = self._watch(watch)
        proof, revision, findings = Proof(self.cluster, self.listener, self.options.lost), 0, tuple[Finding, ...]()
        try:
            with handed_key(self.options.key) as descriptor:
                handed_over = (descriptor,) if self.checked.snapshot < 0 else (descriptor, self.checked.snapshot)
                plays = Plays(run, self.listener, keep_open=handed_over)
                play = self._play(restore_id, descriptor)
                serving = replace(play, playbook="restore_serve.yml")
                with plays.unlocked_at_a_failure(play), plays.loaded(serving) as serve:
                    with step(BRING):
                        plays.apply(play)
                    with step("Prove etcd"):
                        revision = proof.etcd(self.checked.bundle.manifest)
                    with step("Start the API servers and the controllers"):
                        serve()
            with step("Verify the cluster"):
                findings = proof.whole()
        finally:
            seen = watcher.stop() if watcher else None
            aside = self._aside()
            run.report(
                backup=asdict(self.checked.bundle.sidecar),
                restore=restore_id,
                resumed=bool(found),
                revision=revision,
                availability=asdict(seen) if seen else None,
                aside=aside,
                findings=[asdict(finding) for finding in findings if finding.level != "ok"],
            )
        return result(run, self.checked, revision, findings, str(seen or ""), aside)

    def _play(self, restore_id: str, descriptor: int) -> ansible.Play:
        part = self.checked.bundle.manifest.part(SNAPSHOT)
        variables = {
            "claim_owner": owner(),
            "claim_during_restore": True,
            "etcd_restore_id": restore_id,
            "etcd_restore_store": self.options.location,
            "etcd_restore_backup": self.checked.name,
            "etcd_restore_sha256": part.sha256,
            "etcd_restore_size": part.size,
            "etcd_restore_key_descriptor": descriptor,
            "etcd_restore_snapshot_descriptor": self.checked.snapshot,
            "etcd_restore_lost": sorted(self.options.lost),
        }
        return ansible.Play(
            "restore.yml",
            self.cluster.inventory,
            limit=limit(self.options.lost),
            variables=variables,
            become_password=self.options.become_password,
        )

    def _watch(self, watch: WatchFactory) -> Watcher | None:
        with suppress(CpkitError):
            return watching(self.cluster, watch)
        return None

    def _aside(self) -> tuple[str, ...]:
        with suppress(CpkitError):
            told = survey(present(self.cluster, self.options.lost), ())
            return tuple(
                f"{name}:{each.marker.aside}" for name, each in told.items() if each.marker and each.marker.aside
            )
        return ()


def limit(lost: frozenset[str]) -> str:
    """The hosts of a restore; the balancers take no part, so one that is down does not hold it up."""
    return ":".join(["control_plane", *(f"!{name}" for name in sorted(lost))])


def _new_id() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"


def result(
    run: Run,
    checked: Checked,
    revision: int,
    findings: tuple[Finding, ...],
    availability: str,
    aside: tuple[str, ...],
) -> Result:
    """How a restore ended."""
    return Result(
        backup=checked.name,
        revision=checked.bundle.manifest.revision,
        now=revision,
        resumed=bool(checked.found),
        seconds=time.time() - run.started,
        findings=findings,
        availability=availability,
        aside=aside,
        directory=run.directory,
    )


@contextmanager
def interruptible(run: Run, changes: str) -> Iterator[None]:
    """Tell a user who pressed Ctrl-C how to go on; `changes` is the first step that changes a node."""
    try:
        yield
    except KeyboardInterrupt:
        if changes not in {step["step"] for step in run.steps}:
            raise Interrupted("interrupted", hint="Nothing was changed.") from None
        raise Interrupted(
            "interrupted; Ansible was stopped",
            hint="Run the same command again: it goes on where it stopped. To go back to the old data instead, while\n"
            f"  etcd has not started on the new: cpkit restore etcd --abort\n  Log: {run.log}",
        ) from None
