"""How backups are shown: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cpkit.cli.options import Output

if TYPE_CHECKING:
    from cpkit.backup import Sidecar
    from cpkit.backup.catalogue import Catalogue
    from cpkit.backup.chain import Chain
    from cpkit.backup.manifest import Verification
    from cpkit.operations.backup import Result
    from cpkit.operations.backups import Pruning, Verdict

PROOFS = {"stored": "stored", "read": "read back", "drill": "restored"}
STEPS = ((86400, "d"), (3600, "h"), (60, "min"))


def taken(result: "Result", store: str, output: Output) -> str:
    """A backup that was just taken."""
    sidecar, manifest = result.sidecar, result.manifest
    if output is Output.JSON:
        return _json({"backup": asdict(sidecar), "manifest": asdict(manifest), "bytes_per_second": result.rate})
    keys = "keys not counted" if manifest.keys is None else f"{manifest.keys} keys"
    lines = [
        "",
        f"{sidecar.name}: revision {sidecar.revision}, {keys}, {size(sidecar.size)}, {_sealed(sidecar)}",
        f"from {manifest.source.node} in {result.seconds:.1f} s, {result.rate / 1e6:.0f} MB/s, into {store}",
        "Checked: etcd's SHA-256, the database's pages, and the SHA-256 of what the store gives back.",
    ]
    if not manifest.source.quorum:
        lines.append("The cluster has no quorum: this is what one survivor holds, and may lack the last writes.")
    lines += [f"Without {text}" for text in manifest.without]
    key = {"recipients": " --identity FILE", "passphrase": " --passphrase-file FILE"}.get(sidecar.encryption, "")
    lines += [
        "",
        f"Next: cpkit backup verify {sidecar.name} --store '{store}'{key}",
        f"Run directory: {result.directory}",
    ]
    return "\n".join(lines)


def listed(found: "Catalogue", store: str, output: Output) -> str:
    """The backups of a store."""
    if output is Output.JSON:
        return _json(
            {
                "store": store,
                "backups": [asdict(each) for each in found.backups],
                "broken": found.broken,
                "leftovers": [asdict(each) for each in found.leftovers],
                "streams": [stream(each) for each in found.streams.values()],
            }
        )
    columns = ("NAME", "AGE", "REVISION", "KEYS", "SIZE", "SEALED", "VERIFIED", "ETCD", "KUBERNETES")
    rows = [
        (
            each.name,
            age(each.created),
            str(each.revision),
            "?" if each.keys is None else str(each.keys),
            size(each.size),
            each.encryption,
            _verified(each),
            each.etcd,
            each.kubernetes,
        )
        for each in found.backups
    ]
    lines = [table(columns, rows)] if rows else [f"{store} holds no backup."]
    lines += [streamed(each) for each in found.streams.values()]
    lines += [f"broken: {text}" for text in found.broken]
    lines += [f"left over: {each.name}, {size(each.size)}, {age(each.modified)}" for each in found.leftovers]
    return "\n".join(lines)


def shown(sidecar: "Sidecar", output: Output, chain: "Chain | None" = None) -> str:
    """All that is known of one backup, and of the stream that goes on from it."""
    if output is Output.JSON:
        return _json(asdict(sidecar) | ({"stream": stream(chain)} if chain else {}))
    proofs = [f"{_proof(each)} {each.at:%Y-%m-%d %H:%M:%S} UTC by {each.by}" for each in sidecar.verified]
    rows = [
        ("name", sidecar.name),
        ("cluster", f"{sidecar.cluster} ({sidecar.cluster_id})"),
        ("created", f"{sidecar.created.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {age(sidecar.created)} ago"),
        ("revision", str(sidecar.revision)),
        ("keys", "not counted" if sidecar.keys is None else str(sidecar.keys)),
        ("versions", f"Kubernetes {sidecar.kubernetes}, etcd {sidecar.etcd}, storage {sidecar.storage_version}"),
        ("nodes", ", ".join(f"{name} {address}" for name, address in sidecar.nodes.items()) or "not told"),
        ("from", f"{sidecar.node}, {'with' if sidecar.quorum else 'without'} quorum"),
        ("object", f"{sidecar.object}, {size(sidecar.size)}"),
        ("sha256", sidecar.sha256),
        ("sealed", _sealed(sidecar)),
        ("verified", "; ".join(proofs) or "never"),
    ]
    rows += [("stream", streamed(chain).partition(": ")[2])] if chain else []
    return "\n".join(f"{name:10}{value}" for name, value in rows)


def verified(verdicts: "Sequence[Verdict]", output: Output) -> str:
    """What became of verifications."""
    if output is Output.JSON:
        return _json([_verdict(each) for each in verdicts])
    lines = []
    for each in verdicts:
        if each.bundle:
            database, manifest = each.bundle.database, each.bundle.manifest
            parts = f"{len(manifest.parts)} parts, {database.pages} pages, {database.key_revisions} key revisions"
            lines.append(f"● {each.name} is sound: revision {database.revision}, {parts}")
            lines += [f"● {streamed(each.chain)}"] if each.chain else []
        elif each.problem:
            lines.append(f"✗ {each.name}: {each.problem.message}")
            lines += [f"  {each.problem.hint}"] if each.problem.hint else []
    return "\n".join(lines) or "There is no backup to verify."


def pruning(found: "Pruning") -> str:
    """What goes, and why the rest stays."""
    rows = [
        ("keep" if each.kept else "delete", each.sidecar.name, age(each.sidecar.created), ", ".join(each.reasons))
        for each in found.decisions
    ]
    lines = [table(("", "NAME", "AGE", "WHY"), rows)] if rows else ["There is no backup."]
    lines += [f"delete  {item.name}, {size(item.size)}, which an upload left behind" for item in found.leftovers]
    lines += [f"keep    {item.name}: a backup may be under way" for item in found.young]
    lines += [f"broken  {text}; it stays as it is" for text in found.broken]
    return "\n".join(lines)


def streamed(chain: "Chain") -> str:
    """Where a stream leads, in a line."""
    from cpkit.backup.moment import range_of

    if chain.broken:
        return f"stream of {chain.base.name}: BROKEN, {chain.broken}"
    ended = ", ended" if chain.state and chain.state.ended else ""
    return f"stream of {chain.base.name}: {range_of(chain)}, {len(chain.links)} segments, {size(chain.size)}{ended}"


def stream(chain: "Chain") -> dict[str, Any]:
    """A stream, for programs."""
    from cpkit.backup.chain import moment

    return {
        "base": chain.base.name,
        "from_revision": chain.base.revision,
        "to_revision": chain.last,
        "from_time": chain.base.created.isoformat(),
        "to_time": moment(chain.until).isoformat(),
        "segments": len(chain.links),
        "size": chain.size,
        "ended": bool(chain.state and chain.state.ended),
        "broken": chain.broken,
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns that are never cut."""
    drawn = Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for row in rows:
        drawn.add_row(*row)
    console = Console(width=400, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def at(seconds: float) -> str:
    """A time, in UTC; a dash for none."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else "-"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} B"


def age(at: datetime) -> str:
    """How long ago, in one unit."""
    seconds = int((datetime.now(UTC) - at).total_seconds())
    if seconds < 0:
        return "in the future"
    return next((f"{seconds // unit} {name}" for unit, name in STEPS if seconds >= unit), f"{seconds} s")


def _verdict(verdict: "Verdict") -> dict[str, Any]:
    problem = verdict.problem
    return {
        "name": verdict.name,
        "sound": problem is None,
        "problem": problem.message if problem else "",
        "manifest": asdict(verdict.bundle.manifest) if verdict.bundle else None,
        "stream": stream(verdict.chain) if verdict.chain else None,
    }


def _sealed(sidecar: "Sidecar") -> str:
    if sidecar.encryption == "none":
        return "NOT encrypted"
    return "with a passphrase" if sidecar.encryption == "passphrase" else f"for {', '.join(sidecar.recipients)}"


def _verified(sidecar: "Sidecar") -> str:
    proof = max(sidecar.verified, key=lambda each: each.at, default=None)
    return f"{PROOFS[proof.proof]} {age(proof.at)} ago" if proof else "never"


def _proof(each: "Verification") -> str:
    return f"{PROOFS[each.proof]} in {each.receipt.seconds:.1f} s," if each.receipt else PROOFS[each.proof]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=lambda each: each.isoformat())
