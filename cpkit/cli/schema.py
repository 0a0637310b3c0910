"""`cpkit schema`: the JSON Schema of an inventory's variables."""

import json
from typing import Annotated

import typer

from cpkit.cli.options import examples, new_app

app = new_app()


@app.command(epilog=examples("cpkit schema | jq '.properties | keys'"))
def schema(
    *,
    hosts: Annotated[bool, typer.Option("--hosts", help="The schema of hosts.yml instead.")] = False,
) -> None:
    """Print the JSON Schema of group_vars/all.yml: every variable with its meaning, type and default."""
    from cpkit.inventory.schema import hosts_schema, variables_schema

    typer.echo(json.dumps(hosts_schema() if hosts else variables_schema(), indent=2))
