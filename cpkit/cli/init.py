"""`cpkit init`: write a commented inventory."""

from typing import Annotated

import typer

from cpkit.cli.options import examples, new_app
from cpkit.errors import UsageError

app = new_app()

MACHINES = "NAME=ADDRESS[,…]"
EXAMPLE = examples(
    "cpkit init prod --control-plane cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13 "
    "--load-balancer lb1=10.0.0.21,lb2=10.0.0.22 --endpoint 10.0.0.100 --user admin"
)


@app.command(epilog=EXAMPLE)
def init(
    target: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="The cluster's name, for ./inventories/NAME; or a directory.")
    ],
    *,
    control_plane: Annotated[
        list[str], typer.Option(metavar=MACHINES, help="1, 3, 5 or 7 machines; may be given several times.")
    ],
    endpoint: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="The address of the API: the one that the load balancers share.")
    ],
    load_balancer: Annotated[
        list[str] | None, typer.Option(metavar=MACHINES, help="None when the endpoint is a load balancer of yours.")
    ] = None,
    user: Annotated[str, typer.Option(help="Who logs in by SSH; has sudo, unless it is root.")] = "",
    key: Annotated[str, typer.Option(metavar="FILE", help="Private key to log in with.")] = "",
    kubernetes_version: Annotated[
        str, typer.Option(metavar="VERSION", help="As 1.36.3 or 1.36.", show_default="cpkit's own")
    ] = "",
) -> None:
    """Write a commented inventory: hosts.yml, and group_vars/all.yml with every variable and its default.

    It is checked before it is put in place, and an inventory that exists is never touched.
    """
    from cpkit.inventory.creation import Request, create

    request = Request(
        target=target,
        control_plane=_machines("--control-plane", control_plane),
        load_balancers=_machines("--load-balancer", load_balancer or []),
        endpoint=endpoint,
        user=user,
        key=key,
        kubernetes_version=kubernetes_version,
    )
    directory = create(request)
    named = directory.name if directory.parent.name == "inventories" and "/" not in target else str(directory)
    typer.echo(f"""Wrote {directory}/hosts.yml and {directory}/group_vars/all.yml.

Next, once the machines' host keys are in ~/.ssh/known_hosts:
  cpkit preflight -i {named}
  cpkit bootstrap -i {named}""")


def _machines(option: str, values: list[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for word in (word.strip() for value in values for word in value.split(",")):
        name, equals, address = word.partition("=")
        if not (name and equals and address):
            raise UsageError(f"{option}: {word!r} is not NAME=ADDRESS", hint="For example cp1=10.0.0.11,cp2=10.0.0.12")
        found.append((name, address))
    return tuple(found)
