"""Ansible module: put verified binaries where units expect them, and select their versions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_binaries
short_description: Put verified binaries under /opt/cpkit, and select versions of them
description:
  - A binary is taken from a folder on the node, or from where the controller has put it.
  - Its checksum is verified on the node.
  - A version is selected by one rename of a symbolic link; other versions stay where they are.
  - The action plugin of the same name reads the controller's cache and sends what the node lacks.
options:
  binaries:
    description: Entries with C(component), C(version), C(name), C(sha256), C(size) and C(cached), its path in a cache.
    type: list
    elements: dict
    required: true
  node_cache:
    description: A folder on the node that may hold the controller's cache.
    type: str
    default: /var/cache/cpkit/artifacts
  staged:
    description: Checksum to path of what the controller has sent.
    type: dict
    default: {}
  select:
    description: The components whose version is selected at once, all if not given. C(cpkit_files) selects the others.
    type: list
    elements: str
  root:
    description: Where binaries live.
    type: str
    default: /opt/cpkit
author: cpkit
"""

EXAMPLES = r"""
- name: Put the binaries of etcd in place
  cpkit_binaries:
    binaries:
      - {component: etcd, version: 3.6.16, name: etcd, sha256: "…", size: 27218082, cached: etcd/3.6.16/etcd}
"""

RETURN = r"""
missing:
  description: Checksums that neither the node nor the controller's delivery holds.
  type: list
  returned: always
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_verified import Record


class Node:
    """The binaries of a node, with a record that saves hashing them again while they have not changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = Record(root)

    def path(self, entry: dict[str, object]) -> Path:
        """Where a binary belongs."""
        return self.root / str(entry["component"]) / str(entry["version"]) / str(entry["name"])

    def holds(self, entry: dict[str, object]) -> bool:
        """Whether a verified binary is in place."""
        path, sha256 = self.path(entry), str(entry["sha256"])
        try:
            if self.record.holds(path, sha256):
                return True
        except FileNotFoundError:
            return False
        if digest(path) != sha256:
            return False
        self.record.note(path, sha256)
        return True

    def install(self, entry: dict[str, object], source: Path, placed: dict[str, Path]) -> None:
        """Copy a binary into place and verify the copy; the same content twice is one file with two names."""
        target = self.path(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        sha256 = str(entry["sha256"])
        temporary = Path(tempfile.mkdtemp(dir=target.parent)) / target.name
        try:
            if sha256 in placed:
                os.link(placed[sha256], temporary)
            else:
                shutil.copyfile(source, temporary)
                if digest(temporary) != sha256:
                    raise ValueError(f"{source} is not the binary it should be: its sha256 is not {sha256}")
                temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary.parent)
        placed[sha256] = target
        self.record.note(target, sha256)


def digest(path: Path) -> str:
    """A file's sha256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: object) -> str:
    state = hashlib.sha256()
    while block := stream.read(1 << 20):  # type: ignore[attr-defined]
        state.update(block)
    return state.hexdigest()


def select(root: Path, component: str, version: str, *, check_mode: bool) -> bool:
    """Point `current` at a version by one rename; whether it pointed elsewhere."""
    link = root / component / "current"
    if link.is_symlink() and str(link.readlink()) == version:
        return False
    if not check_mode:
        temporary = link.with_name(".current.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(version)
        temporary.rename(link)
    return True


def main() -> None:
    """Find what is missing; when nothing is, install and select."""
    module = AnsibleModule(
        argument_spec={
            "binaries": {"type": "list", "elements": "dict", "required": True},
            "node_cache": {"type": "str", "default": "/var/cache/cpkit/artifacts"},
            "staged": {"type": "dict", "default": {}},
            "select": {"type": "list", "elements": "str"},
            "root": {"type": "str", "default": "/opt/cpkit"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    node = Node(Path(wanted["root"]))
    lacking = [entry for entry in wanted["binaries"] if not node.holds(entry)]
    sources = {str(entry["sha256"]): _source(entry, wanted) for entry in lacking}
    missing = sorted(sha256 for sha256, path in sources.items() if path is None)
    if missing and not module.check_mode:
        module.exit_json(changed=False, missing=missing)
    placed: dict[str, Path] = {}
    try:
        for entry in [] if module.check_mode else lacking:
            node.install(entry, sources[str(entry["sha256"])], placed)
        versions = {str(entry["component"]): str(entry["version"]) for entry in wanted["binaries"]}
        chosen = versions if wanted["select"] is None else {name: versions[name] for name in wanted["select"]}
        selected = [
            name for name, version in chosen.items() if select(node.root, name, version, check_mode=module.check_mode)
        ]
        if not module.check_mode:
            node.record.save()
    except (OSError, ValueError, KeyError) as error:
        module.fail_json(msg=str(error))
    for path in wanted["staged"].values():
        Path(path).unlink(missing_ok=True)
    paths = [str(node.path(entry)) for entry in lacking] + [f"{node.root}/{name}/current" for name in selected]
    module.exit_json(changed=bool(paths), paths=paths, missing=[])


def _source(entry: dict[str, object], wanted: dict[str, object]) -> Path | None:
    staged = wanted["staged"].get(entry["sha256"])  # type: ignore[attr-defined]
    candidates = [Path(str(staged))] if staged else []
    candidates.append(Path(str(wanted["node_cache"])) / str(entry["cached"]))
    fitting = (path for path in candidates if path.is_file() and path.stat().st_size == entry["size"])
    return next(fitting, None)


if __name__ == "__main__":
    main()
