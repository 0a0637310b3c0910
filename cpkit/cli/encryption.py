"""`cpkit encryption`: show and rotate the key that Secrets are encrypted with in etcd."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.backup_options import IntoOption, RecipientOption
from cpkit.cli.changing import DryRunOption, YesOption, cluster_and_password, cluster_of, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.operations.encryption import Result, Status

app = new_app("Show and rotate the key that Secrets are encrypted with in etcd.")


@app.command(
    name="status",
    epilog=examples(
        "cpkit encryption status -i prod",
        "cpkit encryption status -i prod -o json",
        note="Exit code: 0 all as it should be, 3 nodes or objects differ, 4 something is not known. Examples:",
    ),
)
def status_(
    inventory: InventoryOption, *, ask_become_pass: AskBecomePassOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Show each node's keys, whether its API server has loaded them, and how many objects etcd holds under each key."""
    from cpkit.operations.encryption import status

    found = status(cluster_of(inventory, ask_become_pass))
    code, why = _verdict(found)
    if output is Output.JSON:
        typer.echo(json.dumps({**_document(found), "problems": why}, indent=2))
    else:
        typer.echo(_page(found, why))
    raise typer.Exit(code)


@app.command(
    epilog=examples(
        "cpkit encryption rotate -i prod --dry-run",
        "cpkit encryption rotate -i prod --yes",
        "cpkit encryption rotate -i prod --to /srv/backups --recipient age1…",
    )
)
def rotate(
    inventory: InventoryOption,
    *,
    to: IntoOption = "",
    recipient: RecipientOption = None,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Drop the old key without a new backup.")] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace the encryption key, with no restart: every object is rewritten, and the old key is dropped last.

    The old key goes only when every API server works with the new one, etcd's raw bytes show that nothing is encrypted
    with the old one any longer, and a new backup is there. Backups taken before need the old key; it is in them.

    A run that was cut off is taken up by the same command, with the same new key.
    """
    from cpkit.cli.backup_options import Seal, location, sealing
    from cpkit.operations.encryption import Options, describe
    from cpkit.operations.encryption import rotate as operation
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    wanted = not no_backup and not dry_run and bool(to or cluster.spec.backup_store)
    key = sealing(cluster.spec.backup_recipients, Seal(recipient)) if wanted else None
    options = Options(location(to, cluster.spec) if wanted else "", no_backup, key, dry_run, password)
    view = view_of(output)
    try:
        done = operation(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    if dry_run:
        text = f"{describe(cluster.name, done.plan)}\n\nDry run: nothing was changed."
    else:
        text = _summary(cluster.name, done)
    fields: dict[str, Any] = {"stored": done.stored, "availability": done.availability, "backup": done.backup}
    fields |= {"written": done.written, "rate": round(done.rate), "failed": done.failed, "seconds": done.seconds}
    result(output, text, key=done.plan.new.name, dry_run=dry_run, **fields)


def _summary(cluster: str, done: "Result") -> str:
    total = sum(sum(names.values()) for names in done.stored.values())
    lines = [
        f"{cluster}: all {total} covered objects are under {done.plan.new.name}, as etcd's raw bytes show.",
        f"{done.written} were rewritten, {done.rate:.0f}/s; {done.seconds:.0f} s in all.",
        f"Dropped from all nodes: {', '.join(key.name for key in done.plan.old) or 'nothing, it was done'}.",
    ]
    lines += [f"API meanwhile: {each}" for each in done.availability]
    return "\n".join([*lines, *([f"Backup: {done.backup}"] if done.backup else [])])


def _document(found: "Status") -> dict[str, Any]:
    nodes = []
    for each in found.readings.values():
        held = each.configuration
        nodes.append(
            {
                "node": each.node,
                "error": each.error,
                "providers": held.providers if held else [],
                "resources": held.resources if held else [],
                "keys": [{"name": key.name, "fingerprint": key.fingerprint} for key in held.keys] if held else [],
                "file": each.digest if held else "",
                "loaded": each.loaded,
                "in_use": each.in_use,
            }
        )
    return {"nodes": nodes, "stored": found.stored, "not_counted": found.counted}


def _verdict(found: "Status") -> tuple[int, list[str]]:
    """The exit code, and each reason for it."""
    readings = list(found.readings.values())
    unknown = [f"{each.node} is not known: {each.error}" for each in readings if each.error]
    unknown += [f"{each.node}: its API server does not tell" for each in readings if not (each.error or each.loaded)]
    unknown += [f"objects were not counted: {found.counted}"] if found.counted else []
    known = [each for each in readings if each.configuration]
    wrong = [
        f"{each.node}: the API server works with another file" for each in known if each.loaded and not each.in_use
    ]
    if len({each.digest for each in known}) > 1:
        wrong.append("the nodes' files differ; go on with: cpkit encryption rotate")
    elif known and known[0].configuration:
        first, *others = known[0].configuration.names
        wrong += [f"keys beside {first} are still there: {', '.join(others)}"] if others else []
        for resource, names in found.stored.items():
            wrong += [f"{number} {resource} are under {name}" for name, number in names.items() if name != first]
    return (Exit.REFUSED if wrong else Exit.UNKNOWN if unknown else Exit.OK), [*wrong, *unknown]


def _page(found: "Status", why: list[str]) -> str:
    lines = []
    for each in found.readings.values():
        held = each.configuration
        if not held:
            lines.append(f"{each.node}  not known: {each.error}")
            continue
        keys = ", ".join(f"{key.name} ({key.fingerprint})" for key in held.keys)
        use = "in use" if each.in_use else "not in use yet" if each.loaded else "not known whether it is in use"
        lines.append(f"{each.node}  {', '.join(held.providers)}; {', '.join(held.resources)}; keys: {keys}; {use}")
    lines.append("")
    for resource, names in found.stored.items():
        told = ", ".join(f"{number} under {name}" for name, number in sorted(names.items())) or "none"
        lines.append(f"{resource} in etcd: {told}")
    return "\n".join([*lines, *(f"! {each}" for each in why)])
