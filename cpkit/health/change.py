"""What becomes of quorum when members come and go; pure, and nothing but arithmetic.

One member changes at a time, and after each change the healthy voters are a quorum of all voters there are then. Two
rules make that hold whatever happens meanwhile: a member that does not serve is taken out before another comes in, and
those that leave together leave a quorum of the present members behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cpkit.errors import Refused
from cpkit.health.quorum import NUMBERS, Member, Membership, State, join, plural

MOST = 7  # voters; with more, etcd slows down


@dataclass(frozen=True)
class Stage:
    """The members as they are after a change."""

    what: str
    members: Membership

    @property
    def words(self) -> str:
        """The arithmetic as a person would say it."""
        voters, healthy = len(self.members.voters), len(self.members.healthy)
        spare = self.members.fault_tolerance
        count = f"{voters} {plural('voter', voters)}, {healthy} healthy, quorum {self.members.quorum}"
        return f"{count}: {'no' if not spare else NUMBERS[spare]} more may fail"


def without(members: Membership, name: str) -> Membership:
    """The members once one has been taken out."""
    left = tuple(member for member in members.members if member.name != name)
    return Membership(left, "" if members.leader == name else members.leader)


def having(members: Membership, name: str, state: State = State.HEALTHY) -> Membership:
    """The members once one has come in, or a learner has become a voter."""
    return Membership((*without(members, name).members, Member(name, state)), members.leader)


def leaving(members: Membership, names: Sequence[str]) -> tuple[Stage, ...]:
    """Stage by stage, how these members leave; Refused when that would lose quorum, or could.

    Those that do not serve go first, for each of them only weighs on the others, and the leader goes last.
    """
    there = [member for member in members.members if member.name in names]
    _refuse_to_leave_together(members, there)
    order = sorted(there, key=lambda member: (member.state is State.HEALTHY, member.name == members.leader))
    stages = [Stage("now", members)]
    for member in order:
        _refuse_without_quorum(stages[-1].members)
        left = without(stages[-1].members, member.name)
        if not left.voters:
            raise Refused(f"{member.name} is the last member", hint="To take the cluster down: cpkit reset")
        if not left.has_quorum:
            raise Refused(
                f"without {member.name}, {len(left.healthy)} of {len(left.voters)} voters would be healthy, and "
                f"{left.quorum} are needed",
                hint="Bring the others back, or take those out first that are gone for good.",
            )
        stages.append(Stage(f"without {member.name}", left))
    return tuple(stages)


def joining(members: Membership, names: Sequence[str]) -> tuple[Stage, ...]:
    """Stage by stage, how these members come in; Refused when quorum could be lost by one of them failing at once."""
    stages = [Stage("now", members)]
    voters = {member.name for member in members.voters}
    if strangers := [m.name for m in members.members if m.state is State.LEARNER and m.name not in names]:
        raise Refused(
            f"{join(strangers)} is being added, and etcd takes one learner at a time",
            hint=f"Finish that first: cpkit node add {strangers[0]}; or give it up: cpkit node remove {strangers[0]}",
        )
    for name in (name for name in names if name not in voters):
        now = stages[-1].members
        _refuse_without_quorum(now)
        if len(now.voters) >= MOST:
            raise Refused(f"{len(now.voters)} members are the most there should be", hint="etcd slows down beyond.")
        absent = [member.name for member in now.voters if member.state is not State.HEALTHY]
        if absent and not having(now, name, State.SILENT).has_quorum:
            raise Refused(
                f"{join(absent)} {'does' if len(absent) == 1 else 'do'} not serve: if {name} failed as well, "
                f"{len(now.healthy)} of {len(now.voters) + 1} voters would be healthy, and "
                f"{having(now, name).quorum} are needed",
                hint=f"Bring it back, or replace it: cpkit node replace {absent[0]}",
            )
        stages.append(Stage(f"with {name}", having(now, name)))
    return tuple(stages)


def replacing(members: Membership, name: str) -> tuple[Stage, ...]:
    """Stage by stage, how a member that is gone leaves and comes back as a new one."""
    there = any(member.name == name for member in members.members)
    gone = leaving(members, [name]) if there else (Stage("now", members),)
    return gone + joining(gone[-1].members, [name])[1:]


def told(stages: Sequence[Stage]) -> list[str]:
    """The stages as lines, one below the other."""
    width = max(len(stage.what) for stage in stages)
    return [f"  {stage.what:{width}}  {stage.words}" for stage in stages]


def even(count: int) -> str:
    """What is to be said of an even number of voters; nothing of an odd one."""
    if count % 2:
        return ""
    return f"{count} voters tolerate no more failures than {count - 1}; add one more, or take one out"


def _refuse_to_leave_together(members: Membership, there: Sequence[Member]) -> None:
    voters = [member for member in there if member.state is not State.LEARNER]
    if len(voters) > 1 and len(members.voters) - len(voters) < members.quorum:
        raise Refused(
            f"{join(member.name for member in voters)} are {len(voters)} of {len(members.voters)} voters: the others "
            "are no majority, so they could not answer for what was written",
            hint=f"Take one out at a time: cpkit node remove {voters[0].name}",
        )


def _refuse_without_quorum(members: Membership) -> None:
    if not members.has_quorum:
        raise Refused(
            members.words(),
            hint="Without a majority etcd changes no member. Bring members back: cpkit health; if they are gone for "
            "good:\n  cpkit etcd recover",
        )
