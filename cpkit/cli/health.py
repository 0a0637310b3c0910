"""`cpkit health`: may this cluster be trusted, and why."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, Form, InventoryOption, examples, new_app
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpkit.facts.snapshot import Snapshot
    from cpkit.health import Finding

app = new_app()
WATCH_EVERY = 2.0  # seconds
EXAMPLES = examples(
    "cpkit health -i prod",
    "cpkit health -i prod --watch",
    "cpkit health -i prod -o prometheus > /var/lib/node_exporter/cpkit.prom",
    note="Exit code: 0 healthy, 3 not healthy, 4 unknown.",
)


@app.command(epilog=EXAMPLES)
def health(
    inventory: InventoryOption,
    *,
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print the result.")] = Form.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw again every 2 seconds until Ctrl-C.")] = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="List what is well, too.")] = False,
    timeout: Annotated[float, typer.Option(min=1, max=60, help="Seconds to read in; what is late is unknown.")] = 4.0,
    ask_become_pass: AskBecomePassOption = False,
) -> None:
    """Read every node once, judge what was read, and say whether the cluster may be trusted.

    Works with the API down, without quorum and with nodes that do not answer: what cannot be read is unknown, and
    unknown is not healthy.
    """
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge
    from cpkit.operations.stream_seen import looking

    cluster = cluster_of(inventory, ask_become_pass)

    def read() -> "tuple[Snapshot, tuple[Finding, ...]]":
        seen = looking(cluster.spec, timeout)
        snapshot = replace(collect(cluster, deadline=timeout), stream=seen())
        return snapshot, judge(snapshot)

    if watch:
        if output is not Form.TABLE:
            raise UsageError("--watch draws a page, so it goes with -o table only")
        _watch(read, everything=everything)
        return
    snapshot, findings = read()
    _print(snapshot, findings, output, everything=everything)
    raise typer.Exit(exit_code(findings))


def _print(snapshot: "Snapshot", findings: "tuple[Finding, ...]", form: Form, *, everything: bool) -> None:
    if form is Form.TABLE:
        from rich.console import Console

        from cpkit.ui.health import page

        console = Console(highlight=False)
        console.print(page(snapshot, findings, width=console.width, everything=everything))
        return
    from cpkit.ui.health_text import as_json, as_prometheus

    typer.echo((as_json if form is Form.JSON else as_prometheus)(snapshot, findings).rstrip("\n"))


def _watch(read: "Callable[[], tuple[Snapshot, tuple[Finding, ...]]]", *, everything: bool) -> None:
    from rich.live import Live

    from cpkit.ui.health import page

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            snapshot, findings = read()
            live.update(page(snapshot, findings, width=live.console.width, everything=everything), refresh=True)
            time.sleep(max(0.1, WATCH_EVERY - (time.monotonic() - began)))
