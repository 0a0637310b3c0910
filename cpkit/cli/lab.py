"""`cpkit lab`: labs of containers that behave like machines."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.lab_view import Progress, labs_json, print_labs
from cpkit.cli.options import Output, OutputOption, examples, new_app
from cpkit.errors import CpkitError, UsageError

if TYPE_CHECKING:
    from cpkit.lab import Layout, Machine

app = new_app(
    """Labs of containers that behave like machines: they boot systemd, take SSH, and can fail on purpose.

A NODE is named as `cp1` in the lab called `lab`, and as `t1/cp1` in another."""
)

NameArgument = Annotated[str, typer.Argument(metavar="[NAME]", help="The lab.")]
NodesArgument = Annotated[list[str], typer.Argument(metavar="NODE...", help="NODE, or LAB/NODE.")]


@app.command(epilog=examples("cpkit lab up", "cpkit lab up big --nodes 5 --balancers 2 --spare 1"))
def up(
    name: NameArgument = "lab",
    *,
    nodes: Annotated[int | None, typer.Option(help="Control-plane nodes: 1, 3, 5 or 7.  [default: 3]")] = None,
    balancers: Annotated[int | None, typer.Option(help="Load balancers: 0 to 2.  [default: 2]")] = None,
    spare: Annotated[int | None, typer.Option(help="Machines that belong to no cluster yet.  [default: 0]")] = None,
    kubernetes_version: Annotated[
        str | None, typer.Option(help="Version for the inventory, as 1.36.3 or 1.36.  [default: cpkit's]")
    ] = None,
) -> None:
    """Make a lab, or bring one back: missing machines are made, stopped ones started, more added."""
    from cpkit.lab import Sizes, inspect
    from cpkit.lab import up as raise_lab

    with Progress() as progress:
        raised = raise_lab(name, Sizes(nodes, balancers, spare, kubernetes_version), progress)
    print_labs((inspect(name),))
    if raised.changed:
        typer.echo(f"\nUp in {progress.seconds:.1f} s. Next:")
    else:
        typer.echo(f"\nLab {name!r} was already up. Next:")
    typer.echo(
        f"  cpkit bootstrap -i {name}\n  cpkit lab ssh {_spelled(raised.layout, 'cp1')}\n  cpkit lab down {name}"
    )


@app.command(epilog=examples("cpkit lab down", "cpkit lab down t1", "cpkit lab down --all --image"))
def down(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The lab.  [default: lab]")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every lab on this machine.")] = False,
    image: Annotated[bool, typer.Option("--image", help="Remove the cached base image, too.")] = False,
) -> None:
    """Leave nothing of a lab: containers, network, keys and inventory."""
    from cpkit.lab import all_names, remove_base_images
    from cpkit.lab import down as remove_lab

    if name and every:
        raise UsageError("a lab's name and --all exclude each other")
    for lab in all_names() if every else (name or "lab",):
        with Progress() as progress:
            removed = remove_lab(lab, progress)
        if removed:
            typer.echo(f"Removed lab {lab!r}.")
        elif not (every or image):
            raise UsageError(f"there is no lab {lab!r}", hint="See what there is: cpkit lab list")
    if image:
        typer.echo(f"Base images removed: {remove_base_images()}.")


@app.command("list", epilog=examples("cpkit lab list -o json"))
def list_labs(output: OutputOption = Output.TABLE) -> None:
    """Show every lab and the state of its machines."""
    from cpkit.lab import labs

    found = labs()
    if output is Output.JSON:
        typer.echo(labs_json(found))
    elif found:
        print_labs(found)
    else:
        typer.echo("There is no lab. Make one: cpkit lab up")


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("cpkit lab ssh cp1", "cpkit lab ssh t1/lb1 -- sudo journalctl -u haproxy"),
)
def ssh(
    node: Annotated[str, typer.Argument(metavar="NODE", help="NODE, or LAB/NODE.")],
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run there.")] = None,
) -> None:
    """Open a shell on a machine, or run a command there."""
    from cpkit.lab import ssh_command, target

    words = command or []
    argv = ssh_command(*target(node), words[1:] if words[:1] == ["--"] else words)
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except FileNotFoundError as error:
        raise CpkitError("ssh is not installed", hint="On Debian or Ubuntu: apt-get install openssh-client") from error


@app.command(epilog=examples("cpkit lab stop cp2", "cpkit lab stop --power t1/cp1 t1/cp2"))
def stop(
    nodes: NodesArgument,
    *,
    power: Annotated[bool, typer.Option("--power", help="Cut the power instead of shutting down.")] = False,
) -> None:
    """Shut machines down; their disks stay."""
    from cpkit.lab import stop as stop_machines

    for layout, machines in _by_lab(nodes):
        stop_machines(layout, machines, at_once=power)
        _say("stopped", layout, machines)


@app.command(epilog=examples("cpkit lab start cp2"))
def start(nodes: NodesArgument) -> None:
    """Start machines that were stopped, and wait until they take SSH."""
    from cpkit.lab import start as start_machines

    for layout, machines in _by_lab(nodes):
        with Progress() as progress:
            start_machines(layout, machines, progress)
        _say("started", layout, machines)


@app.command(epilog=examples("cpkit lab pause cp1"))
def pause(nodes: NodesArgument) -> None:
    """Freeze all processes of machines: they keep their addresses and connections, and answer nothing."""
    from cpkit.lab import pause as freeze

    for layout, machines in _by_lab(nodes):
        freeze(layout, machines)
        _say("frozen", layout, machines)


@app.command(epilog=examples("cpkit lab unpause cp1"))
def unpause(nodes: NodesArgument) -> None:
    """Let frozen machines go on."""
    from cpkit.lab import unpause as unfreeze

    for layout, machines in _by_lab(nodes):
        unfreeze(layout, machines)
        _say("unfrozen", layout, machines)


@app.command(epilog=examples("cpkit lab partition cp1", "cpkit lab partition cp1 --from cp2 --from lb1 --one-way"))
def partition(
    node: Annotated[str, typer.Argument(metavar="NODE", help="NODE, or LAB/NODE.")],
    *,
    others: Annotated[
        list[str] | None, typer.Option("--from", metavar="NODE", help="Only from this one; may be repeated.")
    ] = None,
    one_way: Annotated[bool, typer.Option("--one-way", help="Drop only what NODE sends, not what it hears.")] = False,
) -> None:
    """Cut a machine off from the others; SSH from this host still works. Lasts until `heal` or a restart."""
    from cpkit.lab import partition as part
    from cpkit.lab import target

    layout, machine = target(node)
    # The others are in the same lab, so its name may be left out.
    named = [layout.machine(other.removeprefix(f"{layout.name}/")) for other in others or ()]
    chosen = tuple(named) or tuple(other for other in layout.machines if other != machine)
    part(layout, machine, chosen, one_way=one_way)
    how = "no longer reaches" if one_way else "is cut off from"
    typer.echo(f"{_spelled(layout, machine.name)} {how} {', '.join(other.name for other in chosen)}.")


@app.command(epilog=examples("cpkit lab heal", "cpkit lab heal t1"))
def heal(name: NameArgument = "lab") -> None:
    """Undo every partition in a lab."""
    from cpkit.lab import heal as mend
    from cpkit.lab import known_layout

    layout = known_layout(name)
    healed = mend(layout, layout.machines)
    typer.echo(f"Healed: {', '.join(healed)}." if healed else "Nothing was cut off.")


def _by_lab(nodes: list[str]) -> "list[tuple[Layout, tuple[Machine, ...]]]":
    from cpkit.lab import target

    grouped: dict[Layout, list[Machine]] = {}
    for layout, machine in map(target, dict.fromkeys(nodes)):
        grouped.setdefault(layout, []).append(machine)
    return [(layout, tuple(machines)) for layout, machines in grouped.items()]


def _spelled(layout: "Layout", node: str) -> str:
    return node if layout.name == "lab" else f"{layout.name}/{node}"


def _say(what: str, layout: "Layout", machines: "tuple[Machine, ...]") -> None:
    typer.echo(f"{', '.join(_spelled(layout, machine.name) for machine in machines)}: {what}.")
