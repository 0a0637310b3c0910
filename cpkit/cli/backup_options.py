"""Options of the backup commands, and what they mean together with the inventory."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.errors import UsageError

if TYPE_CHECKING:
    from cpkit.backup import Opening, Sealing, Sidecar
    from cpkit.backup.retention import Policy
    from cpkit.inventory import ClusterSpec

PLACES = "a path, sftp://user@host/path or s3://bucket/prefix?endpoint=…; else the inventory's."
IntoOption = Annotated[
    str, typer.Option("--store", "-s", "--to", metavar="STORE", help=f"The store to put it into: {PLACES}")
]
OutOfOption = Annotated[
    str, typer.Option("--store", "-s", "--from", metavar="STORE", help=f"The store to look into: {PLACES}")
]
RecipientOption = Annotated[
    list[str] | None, typer.Option("--recipient", "-r", metavar="age1…", help="Seal for this public key; repeatable.")
]
PassphraseFileOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="The passphrase is the first line of this file.")
]
IdentityOption = Annotated[
    Path | None, typer.Option("--identity", "-I", metavar="FILE", help="The private key that opens backups.")
]
MemberOption = Annotated[str, typer.Option("--member", metavar="NODE", help="The member to take the snapshot from.")]
KeepLastOption = Annotated[int | None, typer.Option("--keep-last", min=0, help="Keep the newest so many.")]
KeepDailyOption = Annotated[int | None, typer.Option("--keep-daily", min=0, help="Keep the newest of so many days.")]
KeepWeeklyOption = Annotated[int | None, typer.Option("--keep-weekly", min=0, help="Keep the newest of so many weeks.")]
KeepMonthlyOption = Annotated[
    int | None, typer.Option("--keep-monthly", min=0, help="Keep the newest of so many months.")
]
PASSPHRASE_LENGTH = 8


@dataclass(frozen=True)
class Seal:
    """What a backup is to be sealed with, as asked for; the inventory's recipients if nothing is."""

    recipient: RecipientOption = None
    recipients_file: Annotated[
        Path | None, typer.Option("--recipients-file", "-R", help="Seal for the public keys in a file, one a line.")
    ] = None
    passphrase: Annotated[bool, typer.Option("--passphrase", "-p", help="Ask for a passphrase to seal with.")] = False
    passphrase_file: PassphraseFileOption = None
    no_encrypt: Annotated[
        bool, typer.Option("--no-encrypt", help="Leave it in the clear, without the private keys of the cluster.")
    ] = False


def location(to: str, spec: "ClusterSpec | None") -> str:
    """Where the store is: the option's word, else the inventory's."""
    place = to or (spec.backup_store if spec else "")
    if not place:
        raise UsageError("no store is named", hint="Pass --store STORE, or set backup_store in the inventory.")
    return place if ":" in place else str(Path(place).expanduser().absolute())


def spec_of(inventory: str) -> "ClusterSpec | None":
    """What the inventory says; nothing without one, for a store can be read from anywhere."""
    if not inventory:
        return None
    from cpkit.inventory import load

    return load(inventory).spec


def sealing(configured: Sequence[str], asked: Seal) -> "Sealing":
    """What a backup is sealed with; options take the place of the inventory's recipients."""
    from cpkit.backup import keys

    file = asked.recipients_file
    public = bool(asked.recipient or file)
    if sum((public, asked.passphrase or asked.passphrase_file is not None, asked.no_encrypt)) > 1:
        raise UsageError("recipients, a passphrase and --no-encrypt exclude one another")
    if asked.no_encrypt:
        return None
    if asked.passphrase_file:
        return keys.read_passphrase(asked.passphrase_file)
    if asked.passphrase:
        return keys.Passphrase(_prompt(confirm=True))
    given = [*(asked.recipient or []), *(keys.read_recipients(file) if file else [])]
    named = given if public else list(configured)
    if not named:
        raise UsageError(
            "a backup holds every secret of the cluster, and nothing says whom to seal it for",
            hint="Make a key with `cpkit backup key FILE` and set backup_recipients in the inventory, or pass\n"
            "  --recipient, --passphrase or --no-encrypt.",
        )
    return keys.recipients(named)


def opening(wanted: "Sequence[Sidecar]", identity: Path | None, passphrase_file: Path | None) -> "Opening":
    """What backups are opened with; a passphrase that they need and nobody gave is asked for."""
    from cpkit.backup import keys

    if identity and passphrase_file:
        raise UsageError("--identity and --passphrase-file exclude one another")
    if identity:
        return keys.read_identities(identity)
    if passphrase_file:
        return keys.read_passphrase(passphrase_file)
    if any(each.encryption == "passphrase" for each in wanted) and sys.stdin.isatty():
        return keys.Passphrase(_prompt(confirm=False))
    return None


def policy(
    spec: "ClusterSpec | None", last: int | None, daily: int | None, weekly: int | None, monthly: int | None
) -> "Policy":
    """How many to keep: what the options say, else what the inventory says."""
    from cpkit.backup.retention import Policy

    def told(option: int | None, name: str) -> int:
        return option if option is not None else int(getattr(spec, f"backup_keep_{name}", 0))

    return Policy(told(last, "last"), told(daily, "daily"), told(weekly, "weekly"), told(monthly, "monthly"))


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the user says yes, here or by --yes."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="Pass --yes, or --dry-run to only look.")
    return typer.confirm(question, err=True)


def _prompt(*, confirm: bool) -> str:
    text = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
    if confirm and len(text) < PASSPHRASE_LENGTH:
        raise UsageError(f"the passphrase is shorter than {PASSPHRASE_LENGTH} characters")
    return text
