"""Whether what a member holds is what most members hold."""

from collections.abc import Sequence

from cpkit.backup.manifest import Hash
from cpkit.errors import Refused


def refuse_minority(node: str, hashes: Sequence[Hash]) -> None:
    """Refused when the source hashes otherwise than the majority of those that have the same history left."""
    mine = next((each for each in hashes if each.node == node), None)
    if mine is None:
        return
    same = [each for each in hashes if each.compacted == mine.compacted and each.revision == mine.revision]
    others = [each.node for each in same if each.hash != mine.hash]
    if (len(same) - len(others)) * 2 <= len(same):
        raise Refused(
            f"holds other keys at revision {mine.revision} than {', '.join(others)}",
            node=node,
            hint="One of them is corrupt. Look closer with cpkit health, and name a sound one: --member NODE",
        )
