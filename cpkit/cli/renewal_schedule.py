"""`cpkit rotate-certs schedule`: leaves that the nodes renew by themselves."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_of, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app

if TYPE_CHECKING:
    from cpkit.inventory import Cluster
    from cpkit.operations.renewal_schedule import Result

app = new_app()


@app.command(
    epilog=examples(
        "cpkit rotate-certs schedule -i prod --dry-run --diff",
        "cpkit rotate-certs schedule -i prod --yes",
        "cpkit rotate-certs schedule -i prod --status",
        "cpkit rotate-certs schedule -i prod --remove",
        note="When nodes look is renewal_at in the inventory, daily unless set. Examples:",
    )
)
def schedule(
    inventory: InventoryOption,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the timers away, and all that is theirs.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show when each node looked, and the end.")] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show how files would change.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the control-plane nodes renew their leaves by themselves, each by a timer of its own.

    A node that finds a leaf due takes a lock in etcd, so that no two nodes are at it together, and the cluster's lock
    on itself, so that no run of cpkit is. It makes the leaf anew as it was, with the CA's key that lies there, and
    proves by handshakes that it is in use; otherwise the previous one is put back. A node that is not well, or without
    quorum, changes nothing. A second run of this command changes nothing.
    """
    from cpkit.operations.renewal_schedule import Options
    from cpkit.operations.renewal_schedule import schedule as operation

    cluster = cluster_of(inventory, ask_become_pass)
    if status:
        _status(cluster, output)
        return
    password = cluster.control_plane[0].ssh.become_password if ask_become_pass else ""
    view = view_of(output)
    try:
        done = operation(cluster, Options(remove, dry_run, diff, password), view, confirm=confirming(view, yes=yes))
    finally:
        view.pause()
    result(output, _summary(cluster.name, inventory, done, dry_run=dry_run), dry_run=dry_run, **asdict(done))


def _summary(name: str, inventory: str, done: "Result", *, dry_run: bool) -> str:
    if not done.nodes:
        what = "renew their leaves by themselves already" if done.calendar else "do not renew leaves by themselves"
        return f"{name}: the nodes {what}. Nothing was changed."
    nodes = ", ".join(done.nodes)
    if dry_run:
        what = f"would be set to {done.calendar}" if done.calendar else "would be taken away"
        return f"{name}: the timers {what} on {nodes}. Dry run: nothing was changed.\nWithout cpkit: {done.command}"
    what = f"set to {done.calendar} on {nodes}" if done.calendar else f"taken away from {nodes}"
    lines = [f"{name}: the timers that renew leaves are {what}, {done.seconds:.1f} s."]
    lines += [f"How it goes: cpkit rotate-certs schedule -i {inventory} --status"] if done.calendar else []
    return "\n".join([*lines, f"Without cpkit: {done.command}", f"Run directory: {done.directory}"])


def _status(cluster: "Cluster", output: Output) -> None:
    import json

    from cpkit.cli.backup_view import at, table
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge

    snapshot = collect(cluster)
    findings = judge(snapshot, ["certs.renewal"])
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items()}
    if output is Output.JSON:
        nodes = {name: asdict(host.renewal) if host.renewal else None for name, host in hosts.items() if host}
        told = {"cluster": cluster.name, "nodes": nodes, "findings": [asdict(each) for each in findings]}
        typer.echo(json.dumps(told, indent=2))
        raise typer.Exit(exit_code(findings))
    rows = []
    for name, host in hosts.items():
        found = host.renewal if host else None
        if found:
            renewed = f"{len(found.renewed)} on {at(found.renewed_at)}" if found.renewed_at else "-"
            rows.append((name, found.calendar, found.timer, found.outcome, at(found.at), renewed, at(found.ends)))
        else:
            rows.append((name, "none" if host else "not known", "", "", "", "", ""))
    typer.echo(table(("NODE", "LOOKS", "TIMER", "OUTCOME", "LAST LOOK", "RENEWED", "FIRST LEAF ENDS"), rows))
    for each in findings:
        typer.echo(f"{each.level:7} {each.node or 'cluster'}: {each.text}")
        if each.hint:
            typer.echo(f"        {each.hint}")
    raise typer.Exit(exit_code(findings))
