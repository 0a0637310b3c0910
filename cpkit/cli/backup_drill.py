"""What `cpkit backup verify --drill` does with each backup, and how that is shown."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cpkit.cli.options import Output
from cpkit.errors import CpkitError, Exit

if TYPE_CHECKING:
    from cpkit.backup import Opening, Sidecar, Store
    from cpkit.backup.manifest import Receipt


def drills(store: "Store", wanted: "tuple[Sidecar, ...]", key: "Opening", scratch: Path | None, output: Output) -> int:
    """Drill one backup after the other, and print what became of each; the exit code."""
    from cpkit.artifacts import Silent
    from cpkit.operations.drill import drill
    from cpkit.operations.sandbox import Asked
    from cpkit.ui.run import TextView

    code = int(Exit.OK)
    told: list[dict[str, Any]] = []
    view = TextView(Silent())
    for sidecar in wanted:
        try:
            receipt = drill(Asked(store, sidecar, key, scratch), view).receipt
        except CpkitError as error:
            code = max(code, int(error.code))
            told.append(_told(sidecar.name, error))
            if output is Output.TABLE:
                typer.echo(f"✗ {sidecar.name}: {error}" + (f"\n  {error.hint}" if error.hint else ""))
        else:
            told.append(_told(sidecar.name, receipt))
            if output is Output.TABLE:
                typer.echo(_receipt(sidecar.name, receipt))
        finally:
            view.pause()
    if output is Output.JSON:
        typer.echo(json.dumps(told, indent=2))
    return code


def _told(name: str, what: "Receipt | CpkitError") -> dict[str, object]:
    if isinstance(what, CpkitError):
        return {"name": name, "sound": False, "problem": what.message, "hint": what.hint, "receipt": None}
    return {"name": name, "sound": True, "problem": "", "hint": "", "receipt": asdict(what)}


def _receipt(name: str, receipt: "Receipt") -> str:
    same = (
        f"HashKV {receipt.hash:08x} as its members had it"
        if receipt.hash is not None
        else "its members' hash not known"
    )
    return "\n".join(
        [
            f"● {name} was brought back in {receipt.seconds:.1f} s: from the store to an API that serves",
            f"  revision {receipt.revision}, {same}",
            f"  {receipt.keys} keys of {receipt.resources} resources, {receipt.secrets} Secrets listed and decrypted",
            f"  Kubernetes {receipt.kubernetes}, etcd {receipt.etcd}",
        ]
    )
