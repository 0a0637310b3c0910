"""What the timer runs: the node renews its leaves that end soon, while no other node and no run of cpkit is at it."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ansible.module_utils import cpkit_lock

from cpkit.errors import CpkitError, Refused
from cpkit.node import lock, program
from cpkit.node.gateway import Gateway
from cpkit.node.program import say
from cpkit.renewing import holding, laying, use
from cpkit.renewing import record as records
from cpkit.renewing.holding import Held
from cpkit.renewing.record import LOCK, RECORD, Status
from cpkit.renewing.settings import Settings, read

SETTINGS = Path("/etc/cpkit/renewal.json")
POLL = 1.0
GATE = 30.0  # seconds a node may take to be well before anything is changed
ALONE = "Nothing was changed on this node."


def main() -> int:
    """Renew what is due; `announce` only notes when the first leaf ends, and `forget` forgets what etcd remembers."""
    words = sys.argv[1:]
    settings = read(program.settings_file(words, SETTINGS))
    before = records.read_status(Path(settings.state))

    def failed(text: str, hint: str) -> None:
        records.write(settings, replace(before, at=time.time(), outcome="failed", error=text, hint=hint))

    with program.noting(failed):
        if "forget" in words:
            program.member(settings).delete(RECORD)
            return 0
        if "announce" in words:
            records.write(settings, replace(before, ends=_ends(_held(settings))))
            return 0
        status = program.patiently(lambda: run(settings, before))
    records.write(settings, status)
    say(f"renewed {', '.join(status.renewed)}" if status.outcome == "renewed" else "no leaf is due")
    return 0


def run(settings: Settings, before: Status) -> Status:
    """Renew what is due, if anything is; Refused, and nothing changed, when the cluster does not allow it now."""
    now, held = time.time(), _held(settings)
    reasons = holding.due(held, now)
    if not reasons and not laying.aside():
        return replace(before, at=time.time(), outcome="idle", error="", hint="", ends=_ends(held))
    with _locked(settings) as held_lock:
        _finish(settings)
        held = _held(settings)
        reasons = holding.due(held, now)
        due = [each for each in held if each.leaf.name in reasons]
        if due:
            _refuse_unfit(settings, due)
            renewed = _renew(settings, due, held_lock)
            now = time.time()
            held_lock.put(RECORD, json.dumps({"node": settings.node, "at": now, "renewed": renewed}).encode())
            before = replace(before, renewed=tuple(renewed), renewed_at=now)
    outcome = "renewed" if due else "idle"
    return replace(before, at=time.time(), outcome=outcome, error="", hint="", ends=_ends(_held(settings)))


@contextmanager
def _locked(settings: Settings) -> Iterator[lock.Lock]:
    """Hold the lock of all nodes, and the one on this node that runs of cpkit take."""
    owner = f"cpkit-renewal@{settings.node}"
    with lock.held(program.member(settings), LOCK, settings.lease, lambda holder: say(f"{holder} is at it")) as held:
        if refusal := cpkit_lock.restoring(cpkit_lock.RESTORE) or cpkit_lock.take(cpkit_lock.LOCK, owner):
            raise Refused(refusal, hint=f"{ALONE} Of a dead run: cpkit unlock")
        try:
            yield held
        finally:
            cpkit_lock.release(cpkit_lock.LOCK, owner)


def _refuse_unfit(settings: Settings, due: Sequence[Held]) -> None:
    """The gate: a quorum that this member is in, everything on the node in use, and leaves of the CAs that are here."""
    context, answers = program.trusting(settings), {}
    for node, address in settings.members.items():
        with suppress(CpkitError):
            answers[node] = Gateway(address, context, node=node).call("maintenance/status", {})
    mine = answers.get(settings.node, {"errors": "it does not answer"})
    if mine.get("isLearner") or mine.get("errors"):
        raise Refused(f"its etcd member is not well: {mine.get('errors') or 'a learner'}", hint=ALONE)
    if len(answers) * 2 <= len(settings.members):
        raise Refused(f"only {len(answers)} of {len(settings.members)} etcd members answer", hint=ALONE)
    if found := _awaited(settings, min(GATE, settings.wait)):
        raise Refused(f"the node is not well before: {'; '.join(found)}", hint=f"{ALONE} Look: cpkit health")
    for each in due:
        holding.refuse_misfit(each)


def _renew(settings: Settings, due: Sequence[Held], held_lock: lock.Lock) -> list[str]:
    """Make, lay down, prove; the previous leaves are back when they are not in use in time."""
    files: dict[str, str] = {}
    for each in due:
        files |= holding.renewed(each, key_type=settings.key_type, days=settings.leaf_days, now=time.time())
    held_lock.refuse_lost()
    try:
        laying.lay_down(files)
        found = _awaited(settings, settings.wait)
    except BaseException:
        laying.put_back()
        raise
    if found:
        laying.put_back()
        text = f"the new leaves were not taken into use, and the previous ones are back: {'; '.join(found)}"
        raise CpkitError(text, hint="Look: cpkit certs")
    laying.let_go()
    return [each.leaf.name for each in due]


def _finish(settings: Settings) -> None:
    """What a run that was cut off has laid down stays if it is in use, else what it replaced comes back."""
    if laying.aside():
        if _awaited(settings, settings.wait):
            laying.put_back()
        laying.let_go()


def _awaited(settings: Settings, seconds: float) -> list[str]:
    """What is not in use after so many seconds; a leaf is read anew each time."""
    deadline = time.monotonic() + seconds
    while True:
        found = use.troubles(_held(settings), settings.address)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(POLL)


def _held(settings: Settings) -> tuple[Held, ...]:
    return tuple(map(holding.read, settings.leaves))


def _ends(held: Sequence[Held]) -> float:
    return min(each.certificate.not_after for each in held)
