"""What the commands share that bring a backup back on this machine for a short while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.backup_options import location, opening, spec_of

if TYPE_CHECKING:
    from cpkit.operations.sandbox import Asked
    from cpkit.ui.run import TextView

BackupOption = Annotated[str, typer.Option("--backup", "-b", metavar="NAME", help="The backup's name, or latest.")]
DrillOption = Annotated[
    bool, typer.Option("--drill", help="Bring it back on this machine as well, compare, and measure how long it takes.")
]
ScratchOption = Annotated[
    Path | None,
    typer.Option("--scratch", metavar="DIR", help="A tmpfs for the restored data, where /dev/shm is too small."),
]


@dataclass(frozen=True)
class Access:
    """Where backups are, what opens them, and where they are brought back."""

    inventory: str
    store: str
    identity: Path | None
    passphrase_file: Path | None
    scratch: Path | None


@contextmanager
def asking(names: Sequence[str], access: Access) -> "Iterator[tuple[list[Asked], TextView]]":
    """The backups of these names, to be brought back while a view shows how."""
    from cpkit.artifacts import Silent
    from cpkit.backup import catalogue, open_store
    from cpkit.operations.sandbox import Asked
    from cpkit.ui.run import TextView

    spec = spec_of(access.inventory)
    view = TextView(Silent())
    with open_store(location(access.store, spec)) as store:
        wanted = [catalogue.find(store, name, spec.cluster_name if spec else "") for name in names]
        key = opening(wanted, access.identity, access.passphrase_file)
        try:
            yield [Asked(store, sidecar, key, access.scratch) for sidecar in wanted], view
        finally:
            view.pause()
