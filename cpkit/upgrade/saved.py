"""A plan that was saved: the state it was made of, piece by piece, so that drift can be named; pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cpkit.errors import UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory.spec import ClusterSpec
from cpkit.upgrade.plan import UpgradePlan
from cpkit.upgrade.target import KUBERNETES, Target, acting, part

SCHEMA = 1


@dataclass(frozen=True)
class Saved:
    """What was planned, and of what."""

    cluster: str
    to: str
    etcd: str
    rollback_safe: bool
    only: tuple[str, ...]
    state: Mapping[str, str]

    def to_text(self) -> str:
        """As a file has it, with a fingerprint of all the rest."""
        body = {"schema": SCHEMA, **asdict(self)}
        return json.dumps({**body, "fingerprint": _fingerprint(body)}, indent=2) + "\n"


def saved_of(found: UpgradePlan, snapshot: Snapshot, spec: ClusterSpec, only: frozenset[str]) -> Saved:
    """A plan, to be saved; it names versions in full, whatever the table says by the time it is carried out."""
    end = found.end
    return Saved(
        cluster=found.cluster,
        to=str(end.kubernetes),
        etcd=str(end.etcd),
        rollback_safe=bool(end.emulates),
        only=tuple(sorted(only)),
        state=state(snapshot, spec),
    )


def read_saved(text: str) -> Saved:
    """A saved plan; UsageError when it is none, or was changed since it was saved."""
    try:
        body: dict[str, Any] = json.loads(text)
        fingerprint, schema = body.pop("fingerprint"), body.pop("schema")
        found = Saved(**{**body, "only": tuple(body["only"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"this is no saved plan: {error}", hint="Make one: cpkit upgrade plan --save FILE") from error
    if fingerprint != _fingerprint({"schema": schema, **body}) or schema != SCHEMA:
        raise UsageError(
            "the saved plan was changed after it was saved", hint="Make it anew: cpkit upgrade plan --save"
        )
    return found


def state(snapshot: Snapshot, spec: ClusterSpec) -> dict[str, str]:
    """What a plan depends on: a name for each piece, and its value, or for variables a digest of it."""
    pieces = {f"inventory: {name}": _digest(value) for name, value in spec.model_dump(mode="json").items()}
    pieces["etcd members"] = ", ".join(sorted(f"{row.name} {row.id}" for row in snapshot.etcd.members))
    for node in snapshot.control_plane:
        for component in ("etcd", *KUBERNETES):
            found = part(snapshot, node, component)
            pieces[f"{component} on {node}"] = acting(found.running, found.emulates) if found else ""
    return pieces


def drift(saved: Saved, snapshot: Snapshot, spec: ClusterSpec, targets: tuple[Target, ...]) -> list[str]:
    """What is neither as it was nor as the plan would have made it, in words; what is not known now has not drifted."""
    now, told = state(snapshot, spec), []
    for piece in sorted((saved.state.keys() | now.keys()) - _unknown(snapshot)):
        before, after = saved.state.get(piece, ""), now.get(piece, "")
        if after not in {before, *(_made(piece, target) for target in targets)}:
            variable = piece.startswith("inventory: ")
            told.append(f"{piece} was changed" if variable else f"{piece}: {before or 'none'} → {after or 'none'}")
    return told


def _unknown(snapshot: Snapshot) -> set[str]:
    """The pieces that this reading did not learn, because a node or every member was silent."""
    silent = [name for name, facts in snapshot.control_plane.items() if facts.host is None]
    found = {f"{component} on {node}" for node in silent for component in ("etcd", *KUBERNETES)}
    return found if snapshot.etcd.members else found | {"etcd members"}


def _made(piece: str, target: Target) -> str:
    """What a plan itself makes of a piece; it must not be taken for drift when the plan goes on."""
    name = piece.removeprefix("inventory: ")
    if name != piece:
        return _digest(target.variables()[name]) if name in target.variables() else ""
    component = piece.partition(" on ")[0]
    if component not in {"etcd", *KUBERNETES}:
        return ""
    return acting(str(target.of(component)), target.emulated_by(component))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
