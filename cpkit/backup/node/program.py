"""What the timer runs: of all nodes that wake, one takes the backup that is due, and the others see that it did."""

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cpkit.backup import catalogue
from cpkit.backup.chain import followed
from cpkit.backup.manifest_json import plain_sidecar
from cpkit.backup.naming import SIDECAR
from cpkit.backup.node import record as records
from cpkit.backup.node import stores
from cpkit.backup.node.record import LOCK, RECORD, Record, Status
from cpkit.backup.node.settings import Settings, read
from cpkit.backup.node.taking import Taking, refuse_unfit, take
from cpkit.backup.retention import Policy, decide
from cpkit.node import calendar, lock, program
from cpkit.node.program import say

SETTINGS = Path("/etc/cpkit/backup.json")
STALE = 24.0  # hours; a younger leftover may be of a backup that is being taken


def main() -> int:
    """Take the backup that is due; `announce` only notes when the next is due, and `forget` forgets the last one."""
    words = sys.argv[1:]
    settings = read(program.settings_file(words, SETTINGS))
    now = datetime.now(UTC)
    try:
        slot = calendar.slot(settings.calendar, now)
        before = records.read_status(Path(settings.state))
        status = _status(slot, before)
        if "forget" in words:
            program.member(settings).delete(RECORD)
            return 0
        if "announce" in words:
            records.write(settings, status)
            return 0
    except program.BORNE as error:
        return program.told(error)
    return _run(settings, status, owed=before.next if before and before.next else status.slot)


def _run(settings: Settings, status: Status, owed: float) -> int:
    def failed(text: str, hint: str) -> None:
        records.write(settings, replace(status, at=time.time(), next=owed, outcome="failed", error=text, hint=hint))

    with program.noting(failed):
        done = program.patiently(lambda: run(settings, status))
    records.write(settings, done)
    record = done.record
    if record:
        who = "taken here" if done.outcome == "taken" else f"taken by {record.node}"
        say(f"{record.name}: {who}, {record.size} bytes, {record.seconds:.1f} s")
    return 0


def run(settings: Settings, status: Status) -> Status:
    """Take the backup of a slot, or see that it was taken."""
    context = program.trusting(settings)
    etcd = program.member(settings)
    refuse_unfit(settings, context)
    with (
        lock.held(etcd, LOCK, settings.lease, lambda holder: say(f"{holder} is at it")) as held,
        stores.opened(settings) as store,
    ):
        found = etcd.get(RECORD)
        record = records.read_record(found.data if found else None)
        identity = stores.identify(store, settings.store, record)
        stores.fence(store)
        outcome = "seen"
        if (
            not taken(record, settings.store, status.slot)
            or store.stat(f"{record.name if record else ''}{SIDECAR}") is None
        ):
            outcome = "taken"
            record = take(Taking(settings, etcd, context, held, status.slot), store, identity)
            prune(settings, store)
        proofs = records.proofs(catalogue.read(store, settings.cluster, plain_sidecar).backups)
    return replace(status, at=time.time(), outcome=outcome, record=record, verified=proofs, error="", hint="")


def taken(record: Record | None, location: str, slot: float) -> bool:
    """Whether the backup of a slot is recorded in this store; whether it is there as well is for the store to tell."""
    return record is not None and record.store == location and record.slot >= slot


def prune(settings: Settings, store: stores.Renaming) -> None:
    """Delete the backups that no rule keeps, the oldest first, and what uploads left behind long ago."""
    policy = Policy(**settings.keep)
    if policy.keeps_nothing:
        return
    found = catalogue.read(store, settings.cluster, plain_sidecar)
    now = datetime.now(UTC)
    going = [each.sidecar for each in reversed(decide(found.backups, policy)) if not each.kept]
    going = [each for each in going if not followed(found.streams.get(each.name), now)]
    catalogue.remove(store, going, lambda sidecar: say(f"deleted {sidecar.name}"))
    for item in catalogue.old(found.leftovers, hours=STALE, now=now):
        store.discard(item)


def _status(slot: calendar.Slot, before: Status | None) -> Status:
    following = slot.following.timestamp() if slot.following else 0.0
    known = before or Status(0.0, 0.0)
    return replace(known, at=time.time(), slot=slot.due.timestamp(), next=following, period=slot.period)
