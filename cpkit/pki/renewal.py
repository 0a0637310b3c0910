"""Which leaves are issued anew; the operator's plan and the play on the node decide by the same rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY = 86400.0
SOON_DAYS = 90.0  # unless a third of the leaf's life is less


@dataclass(frozen=True)
class Held:
    """A leaf as a node holds it; times are seconds since the epoch."""

    name: str
    fingerprint: str
    not_before: float
    not_after: float
    misfit: str = ""  # why it is not what it should be


@dataclass(frozen=True)
class Renewal:
    """Leaves are renewed when they do not fit, when they end soon, when all are, or when a target names them.

    With a `target`, exactly the leaves it names are renewed, and each only while it still has the fingerprint given
    there; so a run that was cut off renews nothing twice.
    """

    everything: bool = False
    only: frozenset[str] = frozenset()  # names; empty for any
    days: float | None = None  # what ends sooner is renewed; None for the default, 0 for none
    target: Mapping[str, str] | None = field(default=None)

    def reason(self, leaf: Held, now: float) -> str:
        """Why a leaf is to be renewed; empty when it is to be kept."""
        if self.target is not None:
            return "as planned" if self.target.get(leaf.name) == leaf.fingerprint else ""
        if self.only and leaf.name not in self.only:
            return ""
        if leaf.misfit:
            return leaf.misfit
        if self.everything or self.only:
            return "asked for"
        return f"ends in {max(0.0, leaf.not_after - now) / DAY:.0f} days" if self._soon(leaf, now) else ""

    def touches(self, name: str) -> bool:
        """Whether a leaf may be touched at all, for one that is missing or broken."""
        return name in self.target if self.target is not None else not self.only or name in self.only

    def _soon(self, leaf: Held, now: float) -> bool:
        third = (leaf.not_after - leaf.not_before) / 3
        limit = min(SOON_DAYS * DAY, third) if self.days is None else self.days * DAY
        return leaf.not_after - now < limit


MISFITS = Renewal(days=0)  # what a bootstrap renews
