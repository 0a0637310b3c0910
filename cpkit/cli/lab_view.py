"""How labs look in a terminal, live and at rest."""

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from cpkit.lab import Lab, Layout

_STATE_STYLES = {"running": "green", "ready": "green", "paused": "yellow", "missing": "red"}


class Progress:
    """Shows what happens to each machine: a live table on a terminal, else a line for each event."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._rows: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, what: str, text: str) -> None:
        """Show that this is happening to a machine, the image or the lab."""
        self._rows[what] = text
        if self._live is None:
            typer.echo(f"{self.seconds:5.1f} s  {what}: {text}", err=True)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def _table(self) -> "Table":
        from rich.spinner import Spinner
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for what, text in list(self._rows.items()):
            style = _STATE_STYLES.get(text, "")
            table.add_row(f"[bold]{what}[/]", f"[{style}]{text}[/]" if style else text)
        table.add_row(Spinner("dots"), f"[dim]{self.seconds:.0f} s[/]")
        return table


def print_labs(labs: "tuple[Lab, ...]") -> None:
    """Print a table of each lab's machines."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for lab in labs:
        table = Table(box=None, padding=(0, 3, 0, 0))
        for heading in ("NODE", "ROLE", "ADDRESS", "STATE"):
            table.add_column(heading, header_style="dim")
        for seen in lab.machines:
            style = _STATE_STYLES.get(seen.state, "red")
            role = seen.machine.role.replace("_", " ")
            table.add_row(seen.machine.name, role, seen.machine.address, f"[{style}]{seen.state}[/]")
        console.print(f"[bold]{_title(lab.layout)}[/]", table, sep="\n", highlight=False)


def labs_json(labs: "tuple[Lab, ...]") -> str:
    """The labs as JSON text."""
    from cpkit.lab import inventory_dir

    def one(lab: "Lab") -> dict[str, Any]:
        return {
            "lab": lab.layout.name,
            "network": str(lab.layout.network),
            "endpoint": f"{lab.layout.vip}:6443",
            "inventory": str(inventory_dir(lab.layout.name)),
            "nodes": [
                {
                    "name": seen.machine.name,
                    "role": seen.machine.role,
                    "address": seen.machine.address,
                    "state": seen.state,
                }
                for seen in lab.machines
            ],
        }

    return json.dumps([one(lab) for lab in labs], indent=2)


def _title(layout: "Layout") -> str:
    return f"{layout.name}  {layout.network}  endpoint {layout.vip}:6443"
