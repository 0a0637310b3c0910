"""etcd's own way back to the minor before: validated, enabled, and awaited on every member before any is touched."""

from collections.abc import Callable
from time import monotonic, sleep

from cpkit.errors import CpkitError, Refused
from cpkit.etcd import EtcdRefused, MemberStatus
from cpkit.facts.snapshot import Snapshot
from cpkit.health.members import leader
from cpkit.operations.members import Members
from cpkit.upgrade import downgrade_of
from cpkit.versions import Version

PATIENCE = 60.0  # seconds until every member has followed; 5 on an idle machine
POLL = 0.2


def enable(members: Members, to: Version) -> None:
    """Have every member store what a minor understands; Refused with etcd's reason when it does not go back there."""
    snapshot = members.look()
    before = downgrade_of(snapshot)
    if before and before != to.series:
        hint = f"Finish that one first: cpkit upgrade rollback --etcd {before}.x"
        raise Refused(f"a downgrade of etcd to {before} is enabled", hint=hint)
    if not before:
        with members.open(_asked(snapshot)) as client:
            try:
                client.validate_downgrade(to.series)
                client.enable_downgrade(to.series)
            except EtcdRefused as error:
                hint = "No member was touched. Are all of them up, voters, and of one version? See: cpkit etcd members"
                raise Refused(f"etcd does not go back to {to.series}: {error.message}", hint=hint) from error
    _await(
        members,
        snapshot,
        lambda said: said.storage_version.startswith(f"{to.series}."),
        f"has not stored its data as {to.series} understands it",
    )


def cancel(members: Members) -> None:
    """Take an enabled downgrade back, so that members of the newer minor stay."""
    snapshot = members.look()
    if downgrade_of(snapshot):
        with members.open(_asked(snapshot)) as client:
            client.cancel_downgrade()
        finish(members)


def finish(members: Members) -> None:
    """Wait until no member tells of a downgrade any more; etcd ends it itself when all are back."""
    snapshot = members.look()
    if downgrade_of(snapshot):
        _await(members, snapshot, lambda said: not said.downgrade, "still tells of a downgrade")


def _asked(snapshot: Snapshot) -> str:
    """The leader, or else any member that answers."""
    answering = [name for name, status in snapshot.etcd.statuses.items() if not status.error]
    return leader(snapshot) or next(iter(answering), next(iter(snapshot.plan.control_plane)))


def _await(members: Members, snapshot: Snapshot, holds: Callable[[MemberStatus], bool], otherwise: str) -> None:
    """Wait until something is true of every member."""
    deadline = monotonic() + PATIENCE
    for name in snapshot.plan.control_plane:
        with members.open(name) as client:
            while not holds(client.status()):
                if monotonic() > deadline:
                    raise CpkitError(
                        f"after {PATIENCE:.0f} s it {otherwise}", node=name, hint="Look: cpkit health. Then go on."
                    )
                sleep(POLL)
