"""`cpkit gate`: the question a play asks before it takes a node down, and after."""

from typing import Annotated, Literal

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app

app = new_app()
EXAMPLES = examples(
    "cpkit gate before -i prod --node cp2",
    "cpkit gate after -i prod --node cp2 --wait 60",
    note="Exit code: 0 yes, 3 no and why, 4 not known.",
)


@app.command(epilog=EXAMPLES)
def gate(
    stage: Annotated[
        Literal["before", "after"],
        typer.Argument(help="before: may the node go down now? after: is it back and healthy?"),
    ],
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
    from cpkit.health import exit_code
    from cpkit.operations.gate import Question, answer, told

    asked = Question(stage, node, wait, allow_degraded, names(despite))
    findings = answer(cluster_of(inventory, ask_become_pass), asked)
    code = exit_code(findings)
    if output is Output.JSON:
        import json
        from dataclasses import asdict

        document = {"schema": 1, "node": node, "stage": stage, "yes": code == 0, "findings": [*map(asdict, findings)]}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(told(asked, findings))
    raise typer.Exit(code)
