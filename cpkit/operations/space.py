"""Recover space: bring back an etcd that takes no writes because its database has reached the quota."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cpkit.errors import CpkitError, Refused
from cpkit.facts.snapshot import Snapshot
from cpkit.health import settle
from cpkit.health.finding import Finding
from cpkit.health.members import leader
from cpkit.health.quorum import join
from cpkit.health.upkeep import MIB, full
from cpkit.operations import defrag
from cpkit.operations.etcd import Raised, alarms, compact_at, refuse_without_quorum
from cpkit.operations.listener import Confirm, Listener
from cpkit.operations.members import Members

PROOF = b"cpkit/proof-of-write"
QUIET = 20.0  # seconds until no member tells of the alarm any longer
RAISE = "Raise etcd_quota_backend_bytes, or delete what is not needed: deleting works while the alarm is raised."
Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Recovery:
    """What it took."""

    raised: tuple[Raised, ...]
    compacted: int
    done: tuple[defrag.Done, ...]
    written: int  # the revision of the write that proves it


def recover_space(
    members: Members, listener: Listener, step: Step, *, confirm: Confirm, dry_run: bool = False
) -> Recovery:
    """Compact to the newest revision, defragment one member after the other, take the alarm back, prove a write.

    Without an alarm NOSPACE nothing is changed, and only the write is proven.
    """
    with step("Look at the members"):
        snapshot = members.look()
        refuse_without_quorum(snapshot)
        raised = alarms(members, snapshot)
        _refuse_corrupt(raised)
    options = defrag.Options(force=True, nospace=True)
    planned = defrag.plan(snapshot, options)
    if dry_run:
        listener.say(_words(snapshot, raised, planned))
    defrag.refuse_obstacles(planned)
    if dry_run:
        return Recovery(raised, 0, (), 0)
    if not any(alarm.kind == "NOSPACE" for alarm in raised):
        with step("Prove a write"):
            return Recovery(raised, 0, (), _prove(members))
    if not confirm(_words(snapshot, raised, planned)):
        raise Refused("not confirmed", hint="Nothing was changed.")
    with step("Compact"):
        at = max(status.revision for status in snapshot.etcd.statuses.values())
        compact_at(members, snapshot, at)
        listener.say(f"the history before revision {at} is forgotten")
    with step("Defragment"):
        done = defrag.defragment(members, planned, options, listener)
    with step("Take the alarm back"):
        _disarm(members, listener)
    with step("Prove a write"):
        written = _prove(members)
        listener.say(f"written at revision {written}")
    return Recovery(raised, at, done, written)


def _words(snapshot: Snapshot, raised: tuple[Raised, ...], planned: defrag.Plan) -> str:
    told = ", ".join(f"{alarm.kind} on {alarm.node}" for alarm in raised) or "none"
    newest = max((status.revision for status in snapshot.etcd.statuses.values()), default=0)
    return (
        f"Alarms: {told}\nThis forgets the history before revision {newest}: who watches an older one lists again.\n"
        f"{planned.words()}"
    )


def _refuse_corrupt(raised: tuple[Raised, ...]) -> None:
    corrupt = [alarm.node for alarm in raised if alarm.kind == "CORRUPT"]
    if corrupt:
        raise Refused(
            f"{join(corrupt)} raised CORRUPT, which is mended first",
            hint="A compaction would destroy the evidence. See: cpkit health",
        )


def _disarm(members: Members, listener: Listener) -> None:
    snapshot = members.look()
    names = full(snapshot)
    if names:
        status = snapshot.etcd.statuses[names[0]]
        size, quota = status.db_size / MIB, (status.quota or snapshot.plan.quota) / MIB
        raise Refused(
            f"the keys alone take {size:.1f} of the quota's {quota:.0f} MiB: the alarm would soon be back",
            node=names[0],
            hint=RAISE,
        )
    with members.open(leader(snapshot)) as client:
        # More members may have raised it since: each does when its own file reaches the quota.
        for alarm in client.alarms():
            if alarm.kind == "NOSPACE":
                client.disarm(alarm)

    def still(seen: Snapshot) -> tuple[Finding, ...]:
        loud = [name for name, status in seen.etcd.statuses.items() if "NOSPACE" in status.alarms]
        listener.status(f"waiting for {join(loud)}" if loud else "")
        return tuple(Finding("etcd.alarms", name, "fail", "alarm NOSPACE") for name in loud)

    loud = settle(members.look, still, deadline=QUIET)
    if loud:
        raise CpkitError("the alarm is back", node=loud[0].node, hint=RAISE)


def _prove(members: Members) -> int:
    with members.open(leader(members.look())) as client:
        return client.prove_write(PROOF)
