"""Whether a rotation of authorities was begun and is not finished."""

from collections.abc import Iterator

from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Verdict, check, ok, warn
from cpkit.health.quorum import join
from cpkit.pki.succession import NAMES, WORDS, flags


@check("certs.rotation")
def rotation(snapshot: Snapshot) -> Iterator[Verdict]:
    """No rotation of CAs or of the service-account key waits to be finished."""
    held = [facts.host.rotation for facts in snapshot.control_plane.values() if facts.host and facts.host.rotation]
    under_way = tuple(name for name in NAMES if any(name in each.new for each in held))
    if under_way:
        what = join(WORDS[name] for name in under_way)
        yield warn(f"being replaced: {what}", f"Finish it: cpkit rotate-certs {flags(under_way)}")
    elif held:
        yield ok("nothing is being replaced")
