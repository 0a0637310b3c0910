"""`cpkit gate`: the question a play asks before it takes a node down, and after."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.facts.snapshot import Snapshot
    from cpkit.health import Finding

app = new_app()
EXAMPLES = examples(
    "cpkit gate before -i prod --node cp2",
    "cpkit gate after -i prod --node cp2 --wait 60",
    note="Exit code: 0 yes, 3 no and why, 4 not known.",
)


class Stage(StrEnum):
    """The two questions."""

    BEFORE = "before"
    AFTER = "after"


@app.command(epilog=EXAMPLES)
def gate(
    stage: Annotated[Stage, typer.Argument(help="before: may the node go down now? after: is it back and healthy?")],
    inventory: InventoryOption,
    *,
    node: Annotated[str, typer.Option("--node", "-n", help="The node in question.", show_default=False)],
    wait: Annotated[float, typer.Option(min=0, help="Seconds to keep asking until the answer is yes.")] = 0.0,
    allow_degraded: Annotated[
        bool, typer.Option("--allow-degraded", help="Others may be sick, as long as quorum is kept without the node.")
    ] = False,
    despite: Annotated[
        list[str] | None,
        typer.Option("--despite", metavar="NAME[,NAME]", help="Checks of this node that do not count."),
    ] = None,
    output: OutputOption = Output.TABLE,
    ask_become_pass: AskBecomePassOption = False,
) -> None:
    """Ask whether one node may be taken down now, or whether it is really back."""
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, settle
    from cpkit.health.gate import after, before

    passed_over = names(despite)
    cluster = cluster_of(inventory, ask_become_pass)

    def answer(snapshot: "Snapshot") -> "tuple[Finding, ...]":
        if stage is Stage.BEFORE:
            return before(snapshot, node, allow_degraded=allow_degraded, despite=passed_over)
        return after(snapshot, node, despite=passed_over)

    findings = settle(lambda: collect(cluster, deadline=4.0), answer, deadline=wait)
    code = exit_code(findings)
    if output is Output.JSON:
        import json
        from dataclasses import asdict

        document = {"schema": 1, "node": node, "stage": stage, "yes": code == 0, "findings": [*map(asdict, findings)]}
        typer.echo(json.dumps(document, indent=2))
    else:
        _print(stage, node, findings, code)
    raise typer.Exit(code)


def _print(stage: Stage, node: str, findings: "tuple[Finding, ...]", code: Exit) -> None:
    from cpkit.ui.marks import grouped

    words = {
        Stage.BEFORE: {Exit.OK: "may be taken down", Exit.REFUSED: "must stay up", Exit.UNKNOWN: "must stay up"},
        Stage.AFTER: {Exit.OK: "is back", Exit.REFUSED: "is not back", Exit.UNKNOWN: "may not be back"},
    }
    typer.echo(f"{node} {words[stage][code]}")
    told = [found for found in findings if found.blocks or (code == Exit.OK and found.check == "gate.floor")]
    for group in grouped(told):
        first = group[0]
        where = f"{first.node}: " if first.node not in {"", node} else ""
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        typer.echo(f"  {first.check}{more}: {where}{first.text}")
        if first.hint:
            typer.echo(f"    {first.hint}")
