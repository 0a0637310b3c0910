"""`cpkit certs`: every certificate and key of a cluster, and whether it is in use."""

from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, Form, InventoryOption, examples, new_app
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.facts.snapshot import Snapshot
    from cpkit.health import Finding

app = new_app()
EXAMPLES = examples(
    "cpkit certs -i prod",
    "cpkit certs -i prod --wide",
    "cpkit certs -i prod --fail-under 45 -o json",
    "cpkit certs -i prod -o prometheus > /var/lib/node_exporter/certs.prom",
    note="Exit code: 0 all well, 3 not, 4 unknown.",
)


@app.command(epilog=EXAMPLES)
def certs(
    inventory: InventoryOption,
    *,
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print the list.")] = Form.TABLE,
    wide: Annotated[
        bool, typer.Option("--wide", "-w", help="A line for every file, with subject, names and serial.")
    ] = False,
    fail_under: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Exit with 3 when anything ends sooner than that.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, max=60, help="Seconds to read in; what is late is unknown.")] = 4.0,
    ask_become_pass: AskBecomePassOption = False,
) -> None:
    """List every certificate, CA, kubeconfig and key on every node, until when it is good, and who uses it.

    Real handshakes on each node tell whether what is served is what lies on the disk, and whether each client
    certificate is accepted. Works with the API and etcd down, and with nodes that do not answer.
    """
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge
    from cpkit.health.credentials import CHECKS, credentials, ends_first

    cluster = cluster_of(inventory, ask_become_pass)
    snapshot = collect(cluster, deadline=timeout)
    findings = judge(snapshot, CHECKS)
    _print(snapshot, findings, output, wide=wide)
    first = ends_first(credentials(snapshot))
    if fail_under is not None and first is not None and (first.days_left or 0.0) < fail_under:
        typer.echo(f"{first.name} on {first.node} ends in {first.days_left:.1f} days: under {fail_under:g}", err=True)
        raise typer.Exit(Exit.REFUSED)
    raise typer.Exit(exit_code(findings))


def _print(snapshot: "Snapshot", findings: "tuple[Finding, ...]", form: Form, *, wide: bool) -> None:
    if form is Form.TABLE:
        from rich.console import Console

        from cpkit.ui.certs import page

        console = Console(highlight=False)
        console.print(page(snapshot, findings, width=console.width, wide=wide))
        return
    from cpkit.ui.certs_text import as_json, as_prometheus

    typer.echo((as_json if form is Form.JSON else as_prometheus)(snapshot, findings).rstrip("\n"))
