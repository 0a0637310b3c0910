"""`cpkit backup browse` and `get`: look into a backup, and take objects out of it."""

import json
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.backup_options import IdentityOption, OutOfOption, PassphraseFileOption
from cpkit.cli.backup_sandbox import Access, BackupOption, ScratchOption, asking
from cpkit.cli.options import InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpkit.backup.sandbox import Object, Resource
    from cpkit.operations.browsing import Opened

app = new_app()


class Document(StrEnum):
    """Forms an object may be printed in."""

    YAML = "yaml"
    JSON = "json"


NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="The namespace to look into.")]


@app.command(
    epilog=examples(
        "cpkit backup browse -i prod --identity ~/backup.key",
        "cpkit backup browse configmaps -n shop -b prod-20310506T070809Z-r4711 -i prod --identity ~/backup.key",
        "cpkit backup browse deploy -o json --store /srv/backups --identity ~/backup.key",
    )
)
def browse(
    resource: Annotated[str, typer.Argument(help="List the objects of this resource; without it, all resources.")] = "",
    inventory: InventoryOption = "",
    *,
    namespace: NamespaceOption = "",
    backup: BackupOption = "latest",
    store: OutOfOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    scratch: ScratchOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a backup holds: its resources with their counts, or the objects of one.

    The backup is served for a moment by a throw-away etcd and API server on this machine, in memory and on loopback
    alone; so encrypted objects and custom resources are read as the cluster had them. No cluster is asked.
    """
    from cpkit.cli.backup_view import table

    access = Access(inventory, store, identity, passphrase_file, scratch)
    with _opened(backup, access) as found:
        if resource:
            chosen = found.find(resource)
            rows = [_place(each) for each in found.objects(chosen, namespace=namespace if chosen.namespaced else "")]
        else:
            counts = found.counts()
    if output is Output.JSON:
        told = [{"namespace": row[0], "name": row[1]} for row in rows] if resource else _counts(counts)
        typer.echo(json.dumps(told, indent=2))
    elif resource:
        typer.echo(table(("NAMESPACE", "NAME"), rows) if rows else f"The backup holds no {chosen.full} there.")
    else:
        typer.echo(
            table(
                ("RESOURCE", "OBJECTS"),
                [(each.full, "cannot be read" if number is None else str(number)) for each, number in counts],
            )
        )


@app.command(
    epilog=examples(
        "cpkit backup get configmap/web -n shop -i prod --identity ~/backup.key | kubectl apply -f -",
        "cpkit backup get secrets -A -o json -b prod-20310506T070809Z-r4711 -i prod --identity ~/backup.key",
    )
)
def get(
    what: Annotated[str, typer.Argument(metavar="RESOURCE[/NAME]", help="An object, or all of a resource.")],
    inventory: InventoryOption = "",
    *,
    namespace: NamespaceOption = "default",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Objects of every namespace.")] = False,
    backup: BackupOption = "latest",
    store: OutOfOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    scratch: ScratchOption = None,
    output: Annotated[Document, typer.Option("--output", "-o", help="How to print it.")] = Document.YAML,
) -> None:
    """Take an object out of a backup, or all of a resource, as `kubectl apply` takes it. Secrets are in the clear.

    What the API server fills in by itself is removed: resourceVersion, uid, managedFields, status and the like; owners
    too, for they are named by the UID they had. What was removed is said on standard error.
    """
    from cpkit.backup.objects import applicable, listed, to_yaml
    from cpkit.operations.browsing import single

    resource, slash, name = what.partition("/")
    if not resource or (slash and not name):
        raise UsageError(f"{what!r} names no object", hint="For example: configmap/web, or configmaps for all of them.")
    if name and everywhere:
        raise UsageError("a name and --all-namespaces exclude one another")
    access = Access(inventory, store, identity, passphrase_file, scratch)
    with _opened(backup, access) as found:
        chosen = found.find(resource)
        where = namespace if chosen.namespaced and not everywhere else ""
        held = [single(found, chosen, where, name)] if name else list(found.objects(chosen, namespace=where))
    made = [applicable(each) for each in held]
    removed = sorted({field for _, fields in made for field in fields})
    body = made[0][0] if name else listed(each for each, _ in made)
    if removed:
        typer.echo(f"  removed, so that it can be applied: {', '.join(removed)}", err=True)
    typer.echo(to_yaml(body) if output is Document.YAML else json.dumps(body, indent=2) + "\n", nl=False)


@contextmanager
def _opened(backup: str, access: Access) -> "Iterator[Opened]":
    from cpkit.operations.browsing import opened

    with asking([backup], access) as ((wanted,), view), opened(wanted, view) as found:
        yield found


def _place(held: "Object") -> tuple[str, str]:
    metadata = held["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _counts(counts: "tuple[tuple[Resource, int | None], ...]") -> list[dict[str, object]]:
    return [
        {"resource": each.full, "kind": each.kind, "namespaced": each.namespaced, "objects": number}
        for each, number in counts
    ]
