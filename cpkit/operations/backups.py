"""What is done with backups that exist: prove them, and let old ones go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from cpkit.backup import Bundle, Opening, Sidecar, Store, catalogue, open_bundle
from cpkit.backup.chain import Chain, find, followed, segments
from cpkit.backup.errors import BackupError
from cpkit.backup.manifest import Verification
from cpkit.backup.retention import Decision, Policy, decide
from cpkit.backup.stores import Item
from cpkit.errors import Refused, UsageError
from cpkit.journal import owner

UNDER_WAY = 24.0  # hours; a younger leftover may be a backup that is being taken


@dataclass(frozen=True)
class Verdict:
    """What became of one backup's verification."""

    name: str
    bundle: Bundle | None
    problem: BackupError | None = None
    chain: Chain | None = None  # of which every segment was read, if there is one


def verify(store: Store, sidecar: Sidecar, key: Opening, progress: Callable[[int], None]) -> Verdict:
    """Read a backup wholly, and note in the catalogue that it is sound; what is wrong with it is in the verdict."""
    try:
        bundle = open_bundle(store, sidecar.name, key, progress=progress)
        chain = find(store, sidecar)
        for segment in segments(store, chain, key) if chain else ():
            for _ in segment.records():
                pass
    except BackupError as error:
        return Verdict(sidecar.name, None, error)
    catalogue.record(store, sidecar, Verification(catalogue.now(), "read", owner()))
    return Verdict(sidecar.name, bundle, chain=chain)


@dataclass(frozen=True)
class Pruning:
    """What a policy makes of a store."""

    decisions: tuple[Decision, ...]
    leftovers: tuple[Item, ...]  # that go
    young: tuple[Item, ...]  # that may belong to a backup under way
    broken: tuple[str, ...]

    @property
    def going(self) -> tuple[Sidecar, ...]:
        """The backups that go."""
        return tuple(each.sidecar for each in self.decisions if not each.kept)


def plan(store: Store, cluster: str, policy: Policy, now: datetime) -> Pruning:
    """What would go and what would stay; a policy that keeps nothing is refused."""
    if policy.keeps_nothing:
        raise UsageError(
            "no rule says what to keep, so nothing is deleted",
            hint="Pass --keep-last N and the like, or set backup_keep_last in the inventory.",
        )
    found = catalogue.read(store, cluster)
    stale = catalogue.old(found.leftovers, hours=UNDER_WAY, now=now)
    young = tuple(item for item in found.leftovers if item not in stale)
    decisions = tuple(_kept_while_followed(each, found.streams, now) for each in decide(found.backups, policy))
    return Pruning(decisions, stale, young, found.broken)


def _kept_while_followed(decision: Decision, streams: Mapping[str, Chain], now: datetime) -> Decision:
    """A backup that a stream goes on from stays, as long as somebody follows."""
    if followed(streams.get(decision.sidecar.name), now):
        return replace(decision, reasons=(*decision.reasons, "followed"))
    return decision


def prune(store: Store, pruning: Pruning, say: Callable[[str], None]) -> None:
    """Delete what goes, the oldest first, so that a cut leaves the newer ones."""
    if pruning.going and len(pruning.going) == len(pruning.decisions):
        raise Refused("every backup would go")
    catalogue.remove(store, reversed(pruning.going), lambda sidecar: say(f"deleted {sidecar.name}"))
    for item in pruning.leftovers:
        store.discard(item)
        say(f"deleted {item.name}, which an upload left behind")
