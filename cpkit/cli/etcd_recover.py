"""`cpkit etcd recover`: rebuild a cluster that has lost quorum."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.backup_options import IdentityOption, PassphraseFileOption, location
from cpkit.cli.changing import ConfirmOption, DryRunOption, cluster_and_password, confirming_by_name, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpkit.backup import Opening, Sealing

app = new_app()
StoreOption = Annotated[
    str, typer.Option("--store", metavar="STORE", help="Where the survivor's backup goes; else the inventory's store.")
]


@app.command(
    epilog=examples(
        "cpkit etcd recover -i prod --identity ~/backup.key --dry-run",
        "cpkit etcd recover -i prod --identity ~/backup.key",
    )
)
def recover(
    inventory: InventoryOption,
    *,
    store: StoreOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Even though starting members that hold their data would do.")
    ] = False,
    confirm: ConfirmOption = "",
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Rebuild a cluster that has lost quorum for good, from the member that has seen most.

    Proves that quorum is lost, and refuses where starting a member would bring it back. Then the survivor is backed up,
    and that backup is restored on every control-plane node of the inventory; all old data is moved aside. Take nodes
    that are gone out of the inventory first, and make sure that they do not come back. The same command goes on after
    whatever cut it off.
    """
    from cpkit.cli.restore import summary
    from cpkit.operations.recover import Options
    from cpkit.operations.recover import recover as operation
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    opening, sealing = _keys(identity, passphrase_file, cluster.spec.backup_recipients)
    options = Options(location(store, cluster.spec), sealing, opening, rebuild, dry_run, password)
    view = view_of(output)
    try:
        asking = confirming_by_name(view, cluster.name, confirm)
        done = operation(cluster, options, view, confirm=asking, watch=Watch)
    finally:
        view.pause()
    if done is None:
        result(output, "\nDry run: nothing was changed.", dry_run=True)
    else:
        result(output, summary(cluster, done, ""), **asdict(done))


def _keys(
    identity: "Path | None", passphrase_file: "Path | None", configured: "Sequence[str]"
) -> "tuple[Opening, Sealing]":
    """What opens the backup, and what seals it so that this does."""
    from cpkit.backup import keys

    if (identity is None) == (passphrase_file is None):
        raise UsageError(
            "the rebuild goes through a backup, and nothing says what seals and opens it",
            hint="Pass --identity FILE (cpkit backup key FILE makes one) or --passphrase-file FILE.",
        )
    if passphrase_file is not None:
        secret = keys.read_passphrase(passphrase_file)
        return secret, secret
    assert identity is not None  # noqa: S101 - one of the two is there
    held = keys.read_identities(identity)
    return held, keys.recipients([*keys.publics(held), *configured])
