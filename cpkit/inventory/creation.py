"""New inventories: written, checked as any other, and only then put in place."""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpkit.errors import CpkitError, UsageError
from cpkit.inventory.checks import refuse_even
from cpkit.inventory.loading import load
from cpkit.inventory.problems import InvalidInventory
from cpkit.inventory.schema import hosts_schema, variables_schema
from cpkit.inventory.template import all_yml, hosts_yml
from cpkit.versions import version_table

Machine = tuple[str, str]  # name and address


@dataclass(frozen=True)
class Request:
    """What `cpkit init` was asked for."""

    target: str  # a name under ./inventories, or a directory
    control_plane: tuple[Machine, ...]
    load_balancers: tuple[Machine, ...]
    endpoint: str
    user: str = ""
    key: str = ""
    kubernetes_version: str = ""  # the table's default when empty; a minor means its patch in the table

    @property
    def directory(self) -> Path:
        """Where the inventory goes."""
        path = Path(self.target).expanduser()
        return path if "/" in self.target or self.target in {".", "..", "~"} else Path("inventories") / path

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["cpkit", "init", self.target, "--control-plane", _joined(self.control_plane)]
        words += ["--load-balancer", _joined(self.load_balancers)] if self.load_balancers else []
        words += ["--endpoint", self.endpoint]
        words += ["--user", self.user] if self.user else []
        words += ["--kubernetes-version", self.kubernetes_version] if self.kubernetes_version else []
        line = shlex.join(words)
        return f"{line} --key {_tilde(self.key)}" if self.key else line


def create(request: Request) -> Path:
    """Write a new inventory and return its directory; an existing one is never touched."""
    directory = request.directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"{request.directory} is there already, and stays as it is", hint="Choose another name, or edit it."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _draft(directory) as draft:
        _write(draft, request, directory.name)
        try:
            load(draft)
        except InvalidInventory as error:
            lines = "".join(f"\n  {text}" for text in dict.fromkeys(problem.text for problem in error.problems))
            raise UsageError(f"this makes no sound cluster:{lines}", hint="Nothing was written.") from error
        refuse_even(len(request.control_plane))
        try:
            draft.rename(directory)  # refused by the system unless the directory is missing or empty
        except OSError as error:
            raise CpkitError(f"{request.directory} cannot be put in place: {error.strerror}") from error
    return request.directory


@contextmanager
def _draft(directory: Path) -> Iterator[Path]:
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o777 & ~mask)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(draft: Path, request: Request, name: str) -> None:
    values = {
        "ansible_user": request.user,
        "ansible_ssh_private_key_file": _tilde(request.key),
        "cluster_name": name,
        "cluster_endpoint": request.endpoint,
        # Pinned: without one in the inventory, a newer cpkit would mean a newer cluster.
        "cluster_kubernetes_version": str(version_table().meant(request.kubernetes_version)),
    }
    files = {
        "hosts.yml": hosts_yml(name, request.command, request.control_plane, request.load_balancers),
        "group_vars/all.yml": all_yml(name, {key: value for key, value in values.items() if value}),
        ".schema/hosts.json": json.dumps(hosts_schema(), indent=2) + "\n",
        ".schema/variables.json": json.dumps(variables_schema(), indent=2) + "\n",
    }
    for path, text in files.items():
        (draft / path).parent.mkdir(exist_ok=True)
        (draft / path).write_text(text, encoding="utf-8")


def _joined(machines: tuple[Machine, ...]) -> str:
    return ",".join(f"{name}={address}" for name, address in machines)


def _tilde(path: str) -> str:
    home = str(Path.home())
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path
