"""What a check says about one node."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One check's verdict on one node (or on the cluster, when `node` is empty), and what to do about it."""

    check: str
    node: str
    level: Level
    text: str
    hint: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it keeps a cluster from being called healthy: unknown is not healthy."""
        return self.level in {"fail", "unknown"}
