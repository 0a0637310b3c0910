"""How far a restore has come on the nodes, who takes part in it, and whether it may go on or back; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.ground import ABORTING, Ground, Marker
from cpkit.health.quorum import join
from cpkit.inventory import Cluster


@dataclass(frozen=True)
class UnderWay:
    """A restore that was begun and is not over; `stages` says how far it has come on each node, "" for not begun."""

    restore: str
    backup: str
    stages: dict[str, str]
    aside: tuple[str, ...]

    def anywhere(self, stage: str) -> bool:
        """Whether any node has come so far."""
        return any(Marker(stage=each).reached(stage) for each in self.stages.values())

    def everywhere(self, stage: str) -> bool:
        """Whether all nodes have come so far."""
        return all(Marker(stage=each).reached(stage) for each in self.stages.values())

    @property
    def going_back(self) -> bool:
        """Whether it is being taken back."""
        return ABORTING in self.stages.values()


def present(cluster: Cluster, lost: frozenset[str]) -> Cluster:
    """The cluster without the nodes that are gone for good; Refused when the others are no majority."""
    names = [node.name for node in cluster.control_plane]
    strangers = sorted(lost - set(names))
    if strangers:
        raise UsageError(f"{strangers[0]!r} is no control-plane node", hint=f"There are {join(names)}.")
    left = tuple(node for node in cluster.control_plane if node.name not in lost)
    if 2 * len(left) <= len(names):
        raise Refused(
            f"without {join(sorted(lost))} no majority of the {len(names)} control-plane nodes is left",
            hint="Take the lost ones out of the inventory, so that what is left is a cluster of its own.",
        )
    return replace(cluster, control_plane=left)


def under_way(grounds: Mapping[str, Ground]) -> UnderWay | None:
    """The restore that is under way on the nodes, None when there is none; Refused when the nodes tell of several."""
    begun = {name: each.marker for name, each in grounds.items() if each.marker and each.marker.under_way}
    if not begun:
        return None
    told = {marker.restore: marker for marker in begun.values()}
    if len(told) > 1:
        words = join(f"{name} of {marker.backup}" for name, marker in begun.items())
        raise Refused(f"several restores are under way: {words}", hint="They exclude one another; ask for help.")
    marker = next(iter(told.values()))
    finished = {name: each.marker for name, each in grounds.items() if each.marker and each.marker.restore in told}
    stages = {name: finished[name].stage if name in finished else "" for name in grounds}
    aside = tuple(f"{name}:{each.aside}" for name, each in finished.items() if each.aside)
    return UnderWay(marker.restore, marker.backup, stages, aside)


def restored_name(backup: str, revision: int) -> str:
    """What a restore is known by on the nodes: the backup, and the revision a stream led to after it."""
    return f"{backup}@{revision}" if revision else backup


def named(restored: str) -> tuple[str, int]:
    """The backup and the revision of such a name; 0 for the backup's own."""
    backup, _, revision = restored.partition("@")
    return backup, int(revision or 0)


def refuse_other(found: UnderWay | None, backup: str, grounds: Mapping[str, Ground]) -> None:
    """Raise unless a restore of this backup may begin, or go on, on these nodes."""
    if found is None:
        return
    if found.backup != backup:
        raise Refused(
            f"a restore of {found.backup} is under way",
            hint="Finish it by naming that backup, or go back to the old data: cpkit restore etcd --abort",
        )
    if found.going_back:
        raise Refused("this restore is being taken back", hint="Finish that: cpkit restore etcd --abort")
    silent = [name for name, each in grounds.items() if each.error]
    lost = [name for name, stage in found.stages.items() if not Marker(stage=stage).reached("switched")]
    if found.anywhere("committed") and [name for name in lost if name not in silent]:
        raise Refused(
            "the others are past the point of no return of this restore, and this node has lost its part in it",
            node=next(name for name in lost if name not in silent),
            hint="Take it out of the inventory's control plane, finish the restore, and replace the node afterwards.",
        )


def refuse_abort(found: UnderWay | None, grounds: Mapping[str, Ground]) -> UnderWay:
    """The restore to go back from; raises when there is none, or no way back."""
    silent = {name: each for name, each in grounds.items() if each.error}
    if silent:
        name, ground = next(iter(silent.items()))
        raise Unreachable(
            f"how far the restore has come here is not known: {ground.error}",
            node=name,
            hint="A restore is taken back on all nodes at once. Bring this one back first; if it is gone for good:\n"
            f"  --lost {name}",
        )
    if found is None:
        raise UsageError("no restore is under way", hint="There is nothing to go back from.")
    if found.anywhere("committed"):
        places = join(found.aside)
        raise Refused(
            f"there is no way back from the restore of {found.backup}: etcd may have taken writes on the new data",
            hint="Finish it with the same command. The old data is kept. To bring it back all the same, stop the four\n"
            "  services on every node, put the old `member` in the place of the new on every node, start etcd on all\n"
            f"  of them, then the rest. It lies at {places}",
        )
    return found
