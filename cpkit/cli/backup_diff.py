"""`cpkit backup diff`: what differs between two backups, or between a backup and the cluster as it is now."""

import json
from collections import Counter
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.backup_options import IdentityOption, OutOfOption, PassphraseFileOption
from cpkit.cli.backup_sandbox import Access, ScratchOption, asking
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import CpkitError, Exit, UsageError

if TYPE_CHECKING:
    from cpkit.backup.comparison import Difference, Kind
    from cpkit.operations.comparing import Compared

app = new_app()
MARKS: "dict[Kind, str]" = {"added": "+", "removed": "-", "changed": "~"}
NAMES = 50  # of one resource, on the page


@app.command(
    epilog=examples(
        "cpkit backup diff latest -i prod --identity ~/backup.key",
        "cpkit backup diff prod-20310506T070809Z-r4711 latest -i prod --identity ~/backup.key -o json",
    )
)
def diff(
    old: Annotated[str, typer.Argument(metavar="BACKUP", help="The older state: a backup's name, or latest.")],
    new: Annotated[str, typer.Argument(metavar="BACKUP", help="The newer one; else the cluster as it is now.")] = "",
    inventory: InventoryOption = "",
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Leases, events and the like too, which clusters write all the time.")
    ] = False,
    store: OutOfOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    scratch: ScratchOption = None,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Name the objects that were added, removed or changed: between two backups, or since one was taken.

    Keys are compared straight from etcd, so nothing is decoded; an object counts as changed when it was written anew.
    Each backup is served for a moment by a throw-away etcd on this machine, in memory; the cluster is only read.
    Exit code 0: no difference, 1: some, as `diff` has it; 2 and above: they could not be compared.
    """
    from cpkit.backup.comparison import restless

    if not (new or inventory):
        raise UsageError("name a second backup, or an inventory to compare with its cluster")
    try:
        compared = _compared(
            old, new, Access(inventory, store, identity, passphrase_file, scratch), ask=ask_become_pass
        )
    except CpkitError as error:
        # 1 means that there are differences.
        error.code = Exit.UNKNOWN if error.code is Exit.FAILED else error.code
        raise
    noise = () if everything else restless(compared.differences)
    told = tuple(each for each in compared.differences if each not in set(noise))
    if output is Output.JSON:
        body = {"old": compared.old, "new": compared.new, "by_content": compared.by_content}
        typer.echo(
            json.dumps(body | {"differences": [asdict(each) for each in told], "left_out": len(noise)}, indent=2)
        )
    else:
        typer.echo(page(compared, told, noise))
    raise typer.Exit(1 if told else 0)


def page(compared: "Compared", told: "tuple[Difference, ...]", noise: "tuple[Difference, ...]") -> str:
    """What differs, in sums and by name."""
    from cpkit.cli.backup_view import table

    by_resource = {name: list(group) for name, group in groupby(told, key=lambda each: each.resource)}
    rows = []
    for name, group in by_resource.items():
        sums = Counter(each.kind for each in group)
        rows.append((name, *(str(sums[kind] or "") for kind in MARKS)))
    lines = [f"From {compared.old} to {compared.new}:", ""]
    lines += [table(("RESOURCE", "ADDED", "REMOVED", "CHANGED"), rows)] if rows else ["No difference."]
    for resource, group in by_resource.items():
        lines += ["", *(f"{MARKS[each.kind]} {resource}  {each.name}" for each in group[:NAMES])]
        lines += [f"  and {len(group) - NAMES} more; -o json has them all"] if len(group) > NAMES else []
    left_out = Counter(each.resource for each in noise)
    if left_out:
        numbers = ", ".join(f"{number} {resource}" for resource, number in sorted(left_out.items()))
        lines += ["", f"Left out, as every cluster writes them all the time: {numbers}. --all shows them."]
    return "\n".join(lines)


def _compared(old: str, new: str, access: Access, *, ask: bool) -> "Compared":
    from cpkit.cli.changing import cluster_of
    from cpkit.operations import comparing

    if new:
        with asking([old, new], access) as ((before, after), view):
            return comparing.with_backup(before, after, view)
    cluster = cluster_of(access.inventory, ask)
    with asking([old], access) as ((before,), view):
        return comparing.with_cluster(before, cluster, view)
