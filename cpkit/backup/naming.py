"""How a backup is called."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

STAMP = "%Y%m%dT%H%M%SZ"
ENCRYPTED, PLAIN, SIDECAR = ".cpkit", ".tar", ".json"
_NAME = re.compile(r"(?P<cluster>[a-z0-9][a-z0-9-]*)-(?P<stamp>\d{8}T\d{6}Z)-r(?P<revision>\d+)")


@dataclass(frozen=True)
class Name:
    """The name of a backup: which cluster, when, and at which revision."""

    cluster: str
    created: datetime
    revision: int

    def __str__(self) -> str:
        return f"{self.cluster}-{self.created.astimezone(UTC).strftime(STAMP)}-r{self.revision}"


def parse(text: str) -> Name | None:
    """A name read back, with or without the ending of a file; None when it is no backup's."""
    for ending in (ENCRYPTED, PLAIN, SIDECAR):
        text = text.removesuffix(ending)
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    try:
        created = datetime.strptime(match["stamp"], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Name(match["cluster"], created, int(match["revision"]))
