"""Which member a snapshot is taken from: the healthiest, most caught-up voter."""

from collections.abc import Mapping
from dataclasses import dataclass

from cpkit.errors import Refused, Unreachable
from cpkit.facts.snapshot import MemberStatus, Snapshot

CAUGHT_UP = 100  # log entries a member may be behind while others write


@dataclass(frozen=True)
class Choice:
    """A member, and why it."""

    node: str
    status: MemberStatus
    quorum: bool
    reason: str
    others: tuple[str, ...]  # nodes whose members answered, too
    compared: bool  # whether the look has shown that most members hold the very keys that it holds

    @property
    def leader(self) -> bool:
        """Whether it leads."""
        return self.status.leader == self.status.id


def choose(snapshot: Snapshot, *, only: str = "") -> Choice:
    """The member to take a snapshot from, the one named if it may serve; Refused, with every reason, if none may.

    With quorum it is a follower, if one is caught up, for the leader has other work. Without, it is the survivor that
    has seen most: a snapshot needs no quorum.
    """
    statuses = snapshot.etcd.statuses
    if only and only not in statuses:
        raise Refused(f"{only} is no control-plane node of {snapshot.plan.cluster}")
    problems = {name: _problem(name, statuses) for name in ([only] if only else statuses)}
    able = {name: statuses[name] for name, problem in problems.items() if not problem}
    if not able:
        told = "; ".join(f"{name} {problem}" for name, problem in problems.items())
        unknown = all(statuses[name].error for name in problems)
        raise (Unreachable if unknown else Refused)(
            f"no member may be backed up: {told}", hint="Look closer with: cpkit health"
        )
    quorum = any(not status.linearizable for status in able.values())
    if quorum:
        able = {name: status for name, status in able.items() if not status.linearizable} or able
        name = min(able, key=lambda name: (_leads(able[name]), able[name].seconds, name))
        reason = "the leader, for no other voter is caught up" if _leads(able[name]) else "a follower that is caught up"
    else:
        name = max(able, key=lambda name: (max(able[name].terms, default=0), able[name].applied, able[name].revision))
        reason = "of those that answer, the one that has seen most; the cluster has no quorum"
    others = tuple(each for each, status in statuses.items() if each != name and not status.error)
    compared = _shared(able[name], statuses) * 2 > len(statuses)
    return Choice(name, able[name], quorum, reason if not only else "named by the user", others, compared)


def _problem(name: str, statuses: Mapping[str, MemberStatus]) -> str:
    """Why a member may not be the source; "" if it may."""
    status = statuses[name]
    if status.error:
        return f"does not answer ({status.error})"
    if status.learner:
        return "is a learner"
    if "CORRUPT" in status.alarms:
        return "is corrupt by its own alarm"
    if not _agrees(status, statuses):
        return "holds other keys than the majority"
    told = [each for each in statuses.values() if not each.error]
    behind = max(each.index for each in told) - status.applied
    # Without quorum nobody can catch up: the most advanced survivor is chosen, however far the others are.
    if behind > CAUGHT_UP and any(not each.linearizable for each in told):
        return f"lags by {behind} log entries"
    return ""


def _agrees(status: MemberStatus, statuses: Mapping[str, MemberStatus]) -> bool:
    """Whether its keys are what most members have; hashes compare only where the same history is left."""
    told = [each for each in statuses.values() if each.hash is not None and each.compacted == status.compacted]
    return status.hash is None or not told or _shared(status, statuses) * 2 > len(told)


def _shared(status: MemberStatus, statuses: Mapping[str, MemberStatus]) -> int:
    """How many members are known to hold its keys, itself included."""
    mine = (status.hash, status.compacted)
    return 0 if status.hash is None else sum((each.hash, each.compacted) == mine for each in statuses.values())


def _leads(status: MemberStatus) -> bool:
    return status.leader == status.id
