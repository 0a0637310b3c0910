"""Leaves that the nodes renew by themselves: whether every node does, and how that ended last."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cpkit.facts.host import Renewals
from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Verdict, check, ok, unknown, warn
from cpkit.health.quorum import join

SET = "Set it again: cpkit rotate-certs schedule"
JOURNAL = "On the node: journalctl -u cpkit-renewal"


@check("certs.renewal")
def renewal(snapshot: Snapshot) -> Iterator[Verdict]:
    """If nodes renew their leaves by themselves, every node does, and its last run went well."""
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items() if facts.host}
    found = {name: host.renewal for name, host in hosts.items() if host.renewal}
    missing = {name: host.missing["renewal"] for name, host in hosts.items() if "renewal" in host.missing}
    for name, why in missing.items():
        yield unknown(f"not known whether it renews its leaves by itself: {why}", JOURNAL, node=name)
    if not hosts:
        yield unknown("not known: no control-plane node could be asked", JOURNAL)
        return
    if not found:
        yield ok("no node renews its leaves by itself; to have that: cpkit rotate-certs schedule")
        return
    for name in hosts:
        if name not in found and name not in missing:
            yield warn("does not renew its leaves by itself, and other nodes do", SET, node=name)
    bad = [verdict for name, each in found.items() for verdict in _wrong(name, each)]
    yield from bad
    if not bad:
        yield ok(_told(found))


def _wrong(name: str, each: Renewals) -> Iterator[Verdict]:
    if each.timer != "active":
        yield warn(f"its timer of renewals is {each.timer or 'not there'}", SET, node=name)
    if each.outcome == "failed":
        hint = ". ".join(filter(None, (each.hint, JOURNAL)))
        yield warn(f"its own renewal failed {_when(each.at)}: {each.error}", hint, node=name)


def _told(found: Mapping[str, Renewals]) -> str:
    ran = [each.at for each in found.values() if each.at]
    renewed = {name: each for name, each in found.items() if each.renewed_at}
    last = f"last looked {_when(min(ran))} or later" if len(ran) == len(found) else "not every node has looked yet"
    if not renewed:
        return f"{join(found)} renew their leaves by themselves: {last}; none was due yet"
    name = max(renewed, key=lambda each: renewed[each].renewed_at)
    newest = renewed[name]
    return (
        f"{join(found)} renew their leaves by themselves: {last}; "
        f"{name} renewed {len(newest.renewed)} {_when(newest.renewed_at)}"
    )


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
