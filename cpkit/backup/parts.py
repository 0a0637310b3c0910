"""What goes into a backup beside the snapshot."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.errors import Refused
from cpkit.facts.snapshot import Snapshot
from cpkit.pki.authorities import ENCRYPTION, PKI, SERVICE_ACCOUNT_PUBLIC, SHARED_FILES, Authorities

CONFIG = "/etc/kubernetes"
UNITS = tuple(
    f"/etc/systemd/system/{unit}.service"
    for unit in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
)
SETTINGS = tuple(f"{CONFIG}/{name}.yaml" for name in ("admission", "audit-policy", "authentication"))
ON_A_NODE = (*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC, *UNITS, *SETTINGS)
LARGEST_FILE = 1 << 20
_PASSWORD = re.compile(rb"^\s*[\"']?\w*(pass|password|secret|token)[\"']?\s*:\s*\S", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """The small parts of a backup by name, and what was left out with the reason."""

    contents: dict[str, bytes] = field(repr=False)
    without: tuple[str, ...] = ()


def part_name(path: str) -> str:
    """What a node's file is called in a backup."""
    if path == ENCRYPTION:
        return "encryption.yaml"
    if path.startswith(f"{PKI}/"):
        return f"pki/{path.removeprefix(f'{PKI}/')}"
    folder = "units" if path in UNITS else "config"
    return f"{folder}/{path.rpartition('/')[2]}"


def node_path(part: str) -> str:
    """Where a part of a backup belongs on a node; "" for one that belongs on none."""
    return next((path for path in ON_A_NODE if part_name(path) == part), "")


def secret(name: str) -> bool:
    """Whether a part must not lie about in the clear."""
    return name.endswith(".key") or name == "encryption.yaml"


def assemble(held: Mapping[str, bytes], inventory: Path, snapshot: Snapshot, *, in_clear: bool) -> Parts:
    """All small parts; those that hold secrets are left out when they may not be in the clear."""
    contents = {part_name(path): data for path, data in held.items()}
    contents["versions.json"] = _versions(snapshot)
    contents |= dict(_inventory(inventory))
    if not in_clear:
        return Parts(contents)
    out = [name for name, data in contents.items() if secret(name) or _PASSWORD.search(data)]
    kept = {name: data for name, data in contents.items() if name not in out}
    return Parts(kept, tuple(f"{name}: the backup is not encrypted" for name in out))


def inventory_parts(hosts: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The inventory as parts that may lie on a node, and what was left out for it holds passwords."""
    found = dict(_inventory(hosts))
    out = tuple(name for name, data in found.items() if _PASSWORD.search(data))
    kept = {name: data for name, data in found.items() if name not in out}
    return kept, tuple(f"{name}: it holds a password, which is not laid down on nodes" for name in out)


def refuse_unsound(held: Mapping[str, bytes], snapshot: Snapshot, node: str) -> None:
    """Refused when the nodes hold different authorities, or this node's are broken: such keys would restore nothing."""
    seen: dict[str, dict[str, str]] = {}
    for name, facts in snapshot.control_plane.items():
        for path, digest in (facts.host.files if facts.host else {}).items():
            seen.setdefault(path, {})[name] = digest
    for path, digests in seen.items():
        mine = digests.get(node)
        others = sorted(name for name, digest in digests.items() if mine and digest != mine)
        if others:
            raise Refused(
                f"{node} and {others[0]} hold different {path}",
                hint="A backup of either would not restore the other. Look closer with: cpkit health",
            )
    try:
        Authorities.from_files({path: held[path].decode() for path in SHARED_FILES})
    except ValueError as error:
        raise Refused(f"{error}", node=node, hint="Restore the file from another node first.") from error


def _versions(snapshot: Snapshot) -> bytes:
    nodes = {
        name: {component: each.running or each.selected for component, each in facts.host.components.items()}
        for name, facts in snapshot.control_plane.items()
        if facts.host
    }
    planned = {"kubernetes": snapshot.plan.kubernetes, "etcd": snapshot.plan.etcd}
    return (json.dumps({"inventory": planned, "nodes": nodes}, indent=2) + "\n").encode()


def _inventory(hosts: Path) -> Iterator[tuple[str, bytes]]:
    """The hosts file and what lies in group_vars and host_vars beside it."""
    yield f"inventory/{hosts.name}", hosts.read_bytes()
    for folder in ("group_vars", "host_vars"):
        for path in sorted((hosts.parent / folder).rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.stat().st_size <= LARGEST_FILE:
                yield f"inventory/{path.relative_to(hosts.parent)}", path.read_bytes()
