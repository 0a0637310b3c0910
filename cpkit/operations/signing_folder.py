"""The folder that goes to a CA elsewhere and comes back: a request and a certificate for each leaf, and what to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cpkit.errors import UsageError
from cpkit.facts.requests import Waiting
from cpkit.pki.leaves import NAMES, Leaf

README = "README.md"
Place = tuple[str, str]  # node, leaf
FILES = {name.replace("/", "-"): name for name in NAMES}  # as etcd-server.csr


@dataclass(frozen=True)
class Folder:
    """What the folder holds: certificates by their place, and files that belong to nothing there."""

    path: Path
    certificates: Mapping[Place, str]
    strange: tuple[str, ...]


def file_of(place: Place, kind: str) -> str:
    """Where a request or a certificate of a leaf lies in the folder."""
    node, leaf = place
    return f"{node}/{leaf.replace('/', '-')}.{kind}"


def read_folder(path: Path, nodes: tuple[str, ...]) -> Folder:
    """What is there, in a folder that may still have to be made; UsageError when it cannot be read."""
    expected = {
        file_of((node, leaf), kind): (node, leaf) for node in nodes for leaf in NAMES for kind in ("csr", "crt")
    }
    certificates, strange = {}, []
    try:
        for file in sorted(path.rglob("*")) if path.exists() else ():
            name = str(file.relative_to(path))
            if file.is_dir() or name == README:
                continue
            if name not in expected:
                strange.append(name)
            elif name.endswith(".crt"):
                certificates[expected[name]] = file.read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is no folder", hint="--csr-dir names a folder; it is made if there is none.")
    return Folder(path, certificates, tuple(strange))


def write_folder(path: Path, waiting: Mapping[str, Waiting], leaves: Mapping[Place, Leaf]) -> None:
    """Every request that waits, and a page for whoever signs; UsageError when it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        for node, leaf in leaves:
            file = path / file_of((node, leaf), "csr")
            file.parent.mkdir(exist_ok=True)
            file.write_text(waiting[node].requests[leaf])
        (path / README).write_text("\n".join(_page(waiting, leaves)))
    except OSError as error:
        raise UsageError(f"the requests cannot be written: {error}") from error


def _page(waiting: Mapping[str, Waiting], leaves: Mapping[Place, Leaf]) -> Iterator[str]:
    yield "# Requests for certificates of a Kubernetes control plane\n"
    yield "Each `.csr` asks for one leaf of one node. Its key lies on that node alone.\n"
    yield "1. Have each signed by the CA named for it, with the subject, names and usages that it asks for, no more."
    yield "2. Put each certificate, as PEM, beside its request: `NAME.crt` for `NAME.csr`."
    yield "3. Run the same `cpkit rotate-certs --csr-dir` again. It verifies all before any node is touched.\n"
    yield "With openssl, `-copy_extensions copy` takes over what a request asks for:\n"
    yield "    openssl x509 -req -in NAME.csr -CA ca.crt -CAkey ca.key -days 365 -copy_extensions copy -out NAME.crt\n"
    yield "| request | CA | subject | names | used as |"
    yield "|---|---|---|---|---|"
    for place, leaf in leaves.items():
        profile = leaf.profile
        subject = f"CN={profile.common_name}" + (f", O={profile.organization}" if profile.organization else "")
        roles = " and ".join(word for word, holds in (("server", profile.server), ("client", profile.client)) if holds)
        names = " ".join(profile.sans) or "none"
        yield f"| `{file_of(place, 'csr')}` | {leaf.authority} | {subject} | {names} | {roles} |"
    yield "\n| CA | subject | SHA-256 of its certificate |"
    yield "|---|---|---|"
    trusted = next(iter(waiting.values())).trusted
    for name in sorted({leaf.authority for leaf in leaves.values()}):
        for each in x509.load_pem_x509_certificates(trusted[name].encode()):
            yield f"| {name} | {each.subject.rfc4514_string()} | `{each.fingerprint(hashes.SHA256()).hex(':')}` |"
    yield ""
