"""Whether quorum is lost for good, what each survivor holds, and which members could just be started; pure."""

from dataclasses import dataclass

from cpkit.errors import Refused, Unreachable
from cpkit.facts.snapshot import Snapshot
from cpkit.health.members import membership
from cpkit.health.quorum import join


@dataclass(frozen=True)
class Survivor:
    """A member that answers, and how far its data goes."""

    node: str
    term: int
    index: int
    applied: int
    revision: int


@dataclass(frozen=True)
class Loss:
    """A cluster without quorum."""

    words: str
    survivors: tuple[Survivor, ...]  # the most advanced first
    startable: tuple[str, ...]  # members that are down on machines that answer and hold their data
    missing: int  # members that would have to come back

    @property
    def avoidable(self) -> bool:
        """Whether quorum would be back if members were started whose data is there."""
        return len(self.startable) >= self.missing


def loss(snapshot: Snapshot) -> Loss:
    """What was lost; Refused while there is a quorum, Unreachable while no member tells."""
    members = membership(snapshot)
    statuses = {name: status for name, status in snapshot.etcd.statuses.items() if not status.error}
    if members.has_quorum or any(not status.linearizable for status in statuses.values()):
        raise Refused(f"quorum is not lost: {members.words()}", hint="Mend what is down: cpkit health")
    startable = tuple(
        name
        for name, facts in snapshot.control_plane.items()
        if name not in statuses and facts.host is not None and facts.host.etcd_data
    )
    if not statuses:
        told = f"start etcd on {join(startable)}" if startable else "bring a node back"
        raise Unreachable("no member answers, so nothing is known of what they hold", hint=f"First {told}.")
    survivors = tuple(
        Survivor(name, max(status.terms, default=0), status.index, status.applied, status.revision)
        for name, status in statuses.items()
        if not status.learner
    )
    if not survivors:
        raise Refused("only learners answer, and a learner may lack what was committed", hint="Bring a voter back.")
    ranked = sorted(survivors, key=lambda each: (-each.term, -each.applied, -each.revision, each.node))
    missing = max(0, members.quorum - len(survivors))  # those that answer are sick only for want of the others
    return Loss(members.words(), tuple(ranked), startable, missing)


def refuse_avoidable(found: Loss) -> None:
    """Refused when members that hold their data are only down: what they saw last is lost by a rebuild."""
    if not found.missing:
        raise Refused(
            "a majority of the voters answers, and they only do not reach each other",
            hint="Let them reach each other on port 2380: see cpkit health",
        )
    if found.avoidable:
        names = join(found.startable)
        raise Refused(
            f"quorum can be had back: etcd is down on {names}, and its data is there",
            hint=f"On {names}: systemctl start etcd; why it is down: journalctl -u etcd\n"
            "  A rebuild may lose the last writes, so it is the last resort: --rebuild",
        )


def describe(found: Loss) -> str:
    """The survivors, the most advanced first."""
    width = max((len(each.node) for each in found.survivors), default=0)
    lines = [f"Quorum is lost: {found.words}", ""]
    for number, each in enumerate(found.survivors):
        mark = "→" if number == 0 else " "
        held = f"term {each.term}, index {each.index}, applied {each.applied}, revision {each.revision}"
        lines.append(f"  {mark} {each.node:{width}}  {held}")
    lines += [
        "",
        "This rebuilds the cluster from the first of them, on every control-plane node of the inventory. What only the",
        "others had seen is lost. A node that is left out of the inventory must never come back with its old data: two",
        "of them could form the old cluster again.",
    ]
    return "\n".join(lines)
