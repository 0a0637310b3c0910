"""Kubeconfigs on the operator's machine: written anew, or merged into one that is there."""

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cpkit.errors import UsageError

LISTS = ("clusters", "users", "contexts")


def default_path(cluster: str) -> Path:
    """Where a cluster's kubeconfig goes unless the user names a place."""
    return Path.home() / ".kube" / f"{cluster}.conf"


def check(path: Path, cluster: str, *, merge: bool) -> None:
    """Raise UsageError, before anything is begun, when `write` could not write there or would lose what others own."""
    path = path.resolve()
    elsewhere = "Name another file with --kubeconfig."
    if path.is_dir():
        raise UsageError(f"the kubeconfig {path} is a directory", hint=elsewhere)
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the kubeconfig {path} cannot be written: no file can be made in {folder}", hint=elsewhere)
    if not path.exists():
        return
    try:
        body = _parse(path.read_text(), path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is there, and cannot be read: {error}", hint=elsewhere) from error
    held = {str(entry["name"]) for key in LISTS for entry in body.get(key) or []}
    others = sorted(held - {cluster, f"{cluster}-admin"})
    if not merge and others:
        text = f"{path} is there, and holds other clusters or users: {', '.join(others)}"
        raise UsageError(text, hint="Pass --merge to keep them, or name another file.")
    if not merge and body and not held and body.get("kind") != "Config":
        raise UsageError(f"{path} is there, and is not a kubeconfig", hint=elsewhere)


def write(path: Path, admin: str, cluster: str, *, merge: bool) -> None:
    """Put the administrator's kubeconfig at a path, 0600 from its first byte, under the cluster's own names.

    With `merge`, entries of other clusters stay, and only this cluster's are replaced. A link stays a link.
    """
    path = path.resolve()
    fresh = _renamed(_parse(admin, Path("admin.conf")), cluster)
    if merge and path.exists():
        fresh = _merged(_parse(path.read_text(), path), fresh)
    stream = io.StringIO()
    YAML().dump(fresh, stream)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(stream.getvalue())
        file.flush()
        os.fsync(descriptor)
    temporary.rename(path)


def with_authority(text: str, authority: str) -> str:
    """The same kubeconfig, trusting another CA, as base64 of PEM; unchanged where it trusts that already."""
    body = _parse(text, Path("cluster-info"))
    held = [entry["cluster"].get("certificate-authority-data") for entry in body["clusters"]]
    if held == [authority] * len(held):
        return text
    for entry in body["clusters"]:
        entry["cluster"]["certificate-authority-data"] = authority
    stream = io.StringIO()
    YAML().dump(body, stream)
    return stream.getvalue()


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        body = YAML().load(text) or {}
    except YAMLError as error:
        raise UsageError(f"{path} is not a kubeconfig: it is not YAML", hint=str(error).splitlines()[0]) from error
    if not isinstance(body, dict) or not all(_named_entries(body.get(key) or []) for key in LISTS):
        raise UsageError(f"{path} is not a kubeconfig", hint="Name another file with --kubeconfig.")
    return body


def _named_entries(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) and "name" in entry for entry in value)


def _renamed(body: dict[str, Any], cluster: str) -> dict[str, Any]:
    """Every cluster calls itself `kubernetes`; on the operator's machine they need names of their own."""
    user = f"{cluster}-admin"
    body["clusters"][0]["name"] = cluster
    body["users"][0]["name"] = user
    body["contexts"][0] |= {"name": cluster, "context": {"cluster": cluster, "user": user}}
    body["current-context"] = cluster
    return body


def _merged(old: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    for key in LISTS:
        names = {entry["name"] for entry in fresh[key]}
        old[key] = [entry for entry in old.get(key) or [] if entry.get("name") not in names] + fresh[key]
    old["current-context"] = fresh["current-context"]
    return {"apiVersion": "v1", "kind": "Config"} | old
