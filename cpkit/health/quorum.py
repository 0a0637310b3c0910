"""The arithmetic of quorum, and nothing else.

A quorum is more than half of all voters, so any two quorums share a voter. Three rules follow, and every
function here keeps them: learners never count; a voter that is sick, silent or unknown counts as failed; and stopping
a member does not shrink the cluster, so the majority is always taken of all voters there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


class State(StrEnum):
    """What is known of one member."""

    HEALTHY = "healthy"
    SICK = "sick"  # it answers, but cannot serve
    SILENT = "silent"  # it does not answer, or nobody could ask
    LEARNER = "learner"  # it follows and has no vote


RANK = {State.SILENT: 0, State.SICK: 1, State.LEARNER: 2, State.HEALTHY: 3}  # how much each helps


@dataclass(frozen=True)
class Member:
    """One member by the name of its node."""

    name: str
    state: State


@dataclass(frozen=True)
class Membership:
    """The members of one etcd cluster, and who leads it ("" if nobody is known to)."""

    members: tuple[Member, ...]
    leader: str = ""

    @cached_property
    def voters(self) -> tuple[Member, ...]:
        """The members with a vote."""
        return tuple(member for member in self.members if member.state is not State.LEARNER)

    @cached_property
    def healthy(self) -> tuple[Member, ...]:
        """The voters that can serve."""
        return tuple(member for member in self.members if member.state is State.HEALTHY)

    @cached_property
    def quorum(self) -> int:
        """How many healthy voters etcd needs to take a write."""
        return len(self.voters) // 2 + 1

    @property
    def has_quorum(self) -> bool:
        """Whether enough voters are known to be healthy."""
        return len(self.healthy) >= self.quorum

    @property
    def fault_tolerance(self) -> int:
        """How many more healthy voters may fail without losing quorum."""
        return max(0, len(self.healthy) - self.quorum)

    @property
    def missing(self) -> int:
        """How many voters must come back before there is a quorum again."""
        return max(0, self.quorum - len(self.healthy))

    def may_stop(self, name: str) -> bool:
        """Whether the healthy voters other than this member still form a quorum of all voters."""
        return len(self._serving) - self._serving.count(name) >= self.quorum

    @cached_property
    def _serving(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.healthy)

    @cached_property
    def stoppable(self) -> tuple[str, ...]:
        """The members that may be taken down now, the ones that help least first and the leader last."""
        names = [member for member in self.members if self.may_stop(member.name)]
        names.sort(key=lambda member: (member.name == self.leader, RANK[member.state], member.name))
        return tuple(member.name for member in names)

    def words(self, stoppable: tuple[str, ...] | None = None) -> str:
        """The fault tolerance as a person would say it; `stoppable` narrows whom it offers to take down."""
        offered = self.stoppable if stoppable is None else stoppable
        chosen = f"{offered[0]} may be taken down" if offered else "none may be taken down"
        voters, healthy = len(self.voters), len(self.healthy)
        count = f"{voters} {plural('voter', voters)}, {healthy} healthy"
        if not self.has_quorum:
            return f"no quorum: {count}, {self.quorum} needed{self._absent()}"
        if not self.fault_tolerance:
            return f"{count}: no more may fail{self._absent()}; {chosen}"
        return f"{count}: {NUMBERS[self.fault_tolerance]} more may fail{self._absent()}; {chosen}"

    def _absent(self) -> str:
        parts = [
            f"{join(member.name for member in self.members if member.state is state)} {state.value}"
            for state in (State.SILENT, State.SICK)
            if any(member.state is state for member in self.members)
        ]
        return f" ({'; '.join(parts)})" if parts else ""


def plural(word: str, count: int) -> str:
    """The word, with an s unless there is exactly one."""
    return word if count == 1 else f"{word}s"


def join(names: Iterable[str]) -> str:
    """Names as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    listed = list(names)
    if len(listed) < 2:
        return "".join(listed)
    return f"{', '.join(listed[:-1])} and {listed[-1]}"
