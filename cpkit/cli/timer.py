"""What the commands share that have nodes do something by themselves: setting the timers, and how they go."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.changing import DryRunOption, YesOption, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, Output, OutputOption

if TYPE_CHECKING:
    from cpkit.facts.host import Host
    from cpkit.facts.snapshot import Snapshot
    from cpkit.inventory import Cluster
    from cpkit.operations.timer import Result, Timer


@dataclass(frozen=True)
class Asked:
    """What whoever sets timers may ask for."""

    yes: YesOption = False
    dry_run: DryRunOption = False
    diff: Annotated[bool, typer.Option("--diff", help="Show how files would change.")] = False
    ask_become_pass: AskBecomePassOption = False
    output: OutputOption = Output.TABLE


@dataclass(frozen=True)
class Words:
    """How a command calls what it sets."""

    as_asked: str
    none: str
    short: str
    full: str
    status: str  # the command that says how it goes
    removed: str = ""  # what is to be known once it is taken away
    hint: str = ""  # how to have one


def set_timer(cluster: "Cluster", timer: "Timer", asked: Asked, password: str) -> "Result":
    """Set the timers or take them away, shown as asked for."""
    from cpkit.operations.timer import Options
    from cpkit.operations.timer import set_timer as operation

    view = view_of(asked.output)
    options = Options(asked.dry_run, asked.diff, password)
    try:
        return operation(cluster, timer, options, view, confirm=confirming(view, yes=asked.yes))
    finally:
        view.pause()


def tell(name: str, done: "Result", words: Words, asked: Asked, *, also: str = "") -> None:
    """What was done, as a few lines or the last line of JSON."""
    text = _summary(name, done, words, dry_run=asked.dry_run)
    result(asked.output, f"{text}\n\n{also}" if also else text, dry_run=asked.dry_run, **asdict(done))


def _summary(name: str, done: "Result", words: Words, *, dry_run: bool) -> str:
    if not done.nodes:
        line = f"{name}: {words.as_asked if done.calendar else words.none}. Nothing was changed."
        return line if done.calendar or not words.hint else f"{line}\n{words.hint}"
    nodes = ", ".join(done.nodes)
    if dry_run:
        what = f"would be set to {done.calendar}" if done.calendar else "would be taken away"
        return f"{name}: {words.short} {what} on {nodes}. Dry run: nothing was changed.\nWithout cpkit: {done.command}"
    what = f"set to {done.calendar} on {nodes}" if done.calendar else f"taken away from {nodes}{words.removed}"
    lines = [f"{name}: {words.full} {what}, {done.seconds:.1f} s."]
    lines += [f"How it goes: {words.status}"] if done.calendar else []
    return "\n".join([*lines, f"Without cpkit: {done.command}", f"Run directory: {done.directory}"])


def show_status(
    cluster: "Cluster", check: str, output: Output, *, part: Callable[["Host"], Any], table: Callable[["Snapshot"], str]
) -> int:
    """Show how the timers go on each node, and what the check of them says, whose exit code is returned."""
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge

    snapshot = collect(cluster)
    findings = judge(snapshot, [check])
    if output is Output.JSON:
        hosts = {name: facts.host for name, facts in snapshot.control_plane.items() if facts.host}
        nodes = {name: asdict(found) if (found := part(host)) else None for name, host in hosts.items()}
        told = {"cluster": cluster.name, "nodes": nodes, "findings": [asdict(each) for each in findings]}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(table(snapshot))
        for each in findings:
            typer.echo(f"{each.level:7} {each.node or 'cluster'}: {each.text}")
            if each.hint:
                typer.echo(f"        {each.hint}")
    return exit_code(findings)
