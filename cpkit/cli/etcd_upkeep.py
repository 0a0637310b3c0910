"""The commands of `cpkit etcd` that make room: compact, defrag, recover-space."""

from dataclasses import asdict
from typing import Annotated

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_of, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import Refused, UsageError

app = new_app()


@app.command(epilog=examples("cpkit etcd compact -i prod --keep 1000", "cpkit etcd compact -i prod --revision 4711"))
def compact(
    inventory: InventoryOption,
    *,
    keep: Annotated[int | None, typer.Option(min=0, help="Forget all but so many revisions.")] = None,
    revision: Annotated[int | None, typer.Option(min=1, help="Forget what is older than this revision.")] = None,
    yes: YesOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget etcd's older history, and wait until every member has.

    The API server does this every 5 minutes by itself. Whoever watches from a forgotten revision lists again.
    """
    from cpkit.operations import etcd as operation
    from cpkit.operations.members import changing

    if (keep is None) == (revision is None):
        raise UsageError("say what to forget", hint="Pass either --keep N or --revision N.")
    what = f"before revision {revision}" if revision else f"but for the last {keep} revisions"
    if not confirming(view_of(output), yes=yes)(f"This forgets the history {what}."):
        raise Refused("not confirmed", hint="Nothing was changed.")
    with changing(cluster_of(inventory, ask_become_pass), "etcd-compact", view_of(output)) as change:
        with change.step("Compact"):
            done = operation.compact(change.members, revision=revision, keep=keep or 0)
        change.run.report(compaction=asdict(done))
    text = f"The history begins at revision {done.revision}." if done.revision else "That much is forgotten already."
    result(output, text, **asdict(done))


@app.command(
    epilog=examples(
        "cpkit etcd defrag -i prod --dry-run", "cpkit etcd defrag -i prod", "cpkit etcd defrag -i prod --force -n cp2"
    )
)
def defrag(
    inventory: InventoryOption,
    *,
    node: Annotated[list[str] | None, typer.Option("--node", "-n", help="Only these; may be repeated.")] = None,
    in_use: Annotated[float, typer.Option(min=1, max=100, help="Only if at most so many percent are in use.")] = 55.0,
    reclaim: Annotated[int, typer.Option(min=0, help="Only if at least so many MiB are given back.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Whatever the thresholds say; the gate holds.")] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give what etcd no longer uses back to the disk: one member at a time, the leader last.

    A member serves nothing meanwhile, so the gate is asked before each and after. The leader hands leadership over
    first. Members that would give little back are left alone. A second run does nothing.
    """
    from cpkit.health.upkeep import MIB, Thresholds
    from cpkit.operations import defrag as operation
    from cpkit.operations.members import changing, over_ssh

    cluster, view = cluster_of(inventory, ask_become_pass), view_of(output)
    options = operation.Options(Thresholds(in_use / 100, reclaim * MIB), force, tuple(node or ()), dry_run)
    planned = operation.plan(over_ssh(cluster).look(), options)
    if dry_run or not planned.wanted:
        result(output, planned.words(), plan=asdict(planned), done=[])
        operation.refuse_obstacles(planned)
        return
    operation.refuse_obstacles(planned)
    if not confirming(view, yes=yes)(planned.words()):
        raise Refused("not confirmed", hint="Nothing was changed.")
    with changing(cluster, "etcd-defrag", view) as change:
        with change.step("Defragment"):
            done = operation.defragment(change.members, planned, options, view)
        change.run.report(plan=asdict(planned), done=[asdict(each) for each in done])
    freed = sum(each.before - each.after for each in done) / MIB
    result(output, f"{freed:.1f} MiB given back.", plan=asdict(planned), done=[asdict(each) for each in done])


@app.command(epilog=examples("cpkit etcd recover-space -i prod --dry-run", "cpkit etcd recover-space -i prod --yes"))
def recover_space(
    inventory: InventoryOption,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring back an etcd that takes no writes because its database has reached the quota (alarm NOSPACE).

    Forgets the whole history, defragments one member after the other, takes the alarm back, and proves a write. The
    alarm is not taken back while the keys alone fill the quota. Without the alarm only the write is proven.
    """
    from cpkit.operations.members import changing
    from cpkit.operations.space import recover_space as operation

    view = view_of(output)
    with changing(cluster_of(inventory, ask_become_pass), "etcd-recover-space", view) as change:
        confirm = confirming(view, yes=yes)
        found = operation(change.members, view, change.step, confirm=confirm, dry_run=dry_run)
        change.run.report(**asdict(found), dry_run=dry_run)
    text = "Nothing was changed." if dry_run else f"etcd takes writes: proven at revision {found.written}."
    result(output, text, **asdict(found))
