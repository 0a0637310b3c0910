"""The tamper matrix: `cpkit restore etcd` refuses whatever was done to a backup, with the reason, before any node."""

import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pyrage
import pytest
from typer.testing import CliRunner, Result

from cpkit.backup import Recipients, Sidecar, open_store
from cpkit.backup.keys import make_identity, read_identities
from cpkit.backup.manifest import Manifest
from cpkit.backup.manifest_json import read_sidecar, to_json
from cpkit.backup.parts import part_name
from cpkit.cli.restore import app
from cpkit.errors import CpkitError, Exit
from cpkit.etcd import MemberClient
from cpkit.facts.ground import Ground, Room
from cpkit.inventory import load
from cpkit.operations.restore_objections import COMPARED
from cpkit.operations.restore_run import Restoring
from tests.contract.backups import take

LAB = Path(__file__).parents[2] / "inventories" / "lab"
PARTS = {part_name(path): f"what {path} holds\n".encode() for path in COMPARED}
PLENTY = Room(1, 1 << 40)


@pytest.fixture(scope="module")
def client(client: MemberClient) -> MemberClient:
    for number in range(100):
        client.etcd3.put(f"/registry/secrets/default/{number}", "x" * 500)
    return client


@dataclass(frozen=True)
class Stored:
    """A store with one backup, and the key to it."""

    store: Path
    key: Path
    recipient: str
    sidecar: Sidecar

    @property
    def object(self) -> Path:
        return self.store / self.sidecar.object

    def put(self, data: bytes, *, vouching: bool) -> None:
        """Other bytes in the place of the backup, and a sidecar that vouches for them or not."""
        self.object.write_bytes(data)
        told = replace(self.sidecar, size=len(data), sha256=sha256(data).hexdigest()) if vouching else self.sidecar
        (self.store / f"{self.sidecar.name}.json").write_bytes(to_json(told))

    def opened(self) -> dict[str, bytes]:
        """The members of the archive, in order."""
        plain = pyrage.decrypt(self.object.read_bytes(), [identity(self.key)])
        with tarfile.open(fileobj=BytesIO(plain)) as archive:
            return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]

    def sealed(self, members: Mapping[str, bytes]) -> bytes:
        """An archive of these members, sealed as anybody can who knows the recipient."""
        into = BytesIO()
        with tarfile.open(fileobj=into, mode="w") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
        return bytes(pyrage.encrypt(into.getvalue(), [pyrage.x25519.Recipient.from_str(self.recipient)]))

    def restore(self, *more: str) -> Result:
        given = {"--from": str(self.store), "--identity": str(self.key), "--backup": self.sidecar.name}
        given |= dict(zip(more[::2], more[1::2], strict=True))
        words = [word for pair in given.items() for word in pair]
        return CliRunner().invoke(app, ["etcd", "-i", str(LAB), "--confirm", "lab", *words])

    def refused(self, code: Exit, *reasons: str, more: tuple[str, ...] = ()) -> None:
        """A restore ends with this code and one of these reasons."""
        error = self.restore(*more).exception
        assert isinstance(error, CpkitError), error
        assert error.code is code, error
        assert any(reason in f"{error}{error.hint}" for reason in reasons), error


def identity(key: Path) -> pyrage.x25519.Identity:
    text = read_identities(key).text
    return pyrage.x25519.Identity.from_str(next(line for line in text.splitlines() if line.startswith("AGE-")))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three nodes that fit the backup; whoever would change one fails the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fit = Ground(
        cluster="lab",
        digests={path: sha256(PARTS[part_name(path)]).hexdigest() for path in COMPARED},
        member=True,
        data_disk=PLENTY,
        snapshot_disk=PLENTY,
        etcdutl="3.6.16",
        kubernetes="1.36.3",
    )

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("a node was touched")

    monkeypatch.setattr(
        "cpkit.operations.restore.survey", lambda cluster, _: {n.name: fit for n in cluster.control_plane}
    )
    monkeypatch.setattr(Restoring, "carry_out", touched)
    monkeypatch.setattr("cpkit.operations.restore.build", touched)


Make = Callable[..., Stored]


@pytest.fixture
def make(client: MemberClient, tmp_path: Path, nodes: None) -> Make:
    key = tmp_path / "backup.key"
    recipient = make_identity(key)

    def made(name: str = "store", *, parts: Mapping[str, bytes] = PARTS, **changes: str) -> Stored:
        def change(manifest: Manifest) -> Manifest:
            told = {node.name: node.address for node in load(LAB).control_plane}
            return replace(manifest, **({"nodes": told} | changes))  # type: ignore[arg-type]

        with open_store(str(tmp_path / name)) as store:
            cluster = changes.get("cluster", "lab")
            sidecar = take(client, store, Recipients((recipient,)), cluster=cluster, parts=parts, change=change)
        return Stored(tmp_path / name, key, recipient, sidecar)

    return made


def test_a_sound_backup_would_be_restored(make: Make) -> None:
    with pytest.raises(AssertionError, match="a node was touched"):
        raise make().restore().exception or SystemExit("nothing was done")


@pytest.mark.parametrize("vouching", [False, True], ids=["", "sidecar-vouches"])
def test_bytes_flipped(make: Make, vouching: bool) -> None:
    stored = make()
    data = stored.object.read_bytes()
    for place in (0, 30, 150, 400, len(data) // 3, len(data) // 2, len(data) - 9):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x20
        stored.put(bytes(spoilt), vouching=vouching)
        stored.refused(Exit.REFUSED, "is damaged", "does not open", "not what was stored", "cannot be")


@pytest.mark.parametrize("vouching", [False, True], ids=["", "sidecar-vouches"])
def test_truncated_at_every_sixteenth(make: Make, vouching: bool) -> None:
    stored = make()
    data = stored.object.read_bytes()
    for sixteenth in range(16):
        stored.put(data[: len(data) * sixteenth // 16], vouching=vouching)
        stored.refused(Exit.REFUSED, "is damaged", "not what was stored", "cannot be", "bytes of")


def test_parts_swapped_between_bundles(make: Make, client: MemberClient) -> None:
    stored = make()
    client.etcd3.put("/registry/secrets/default/later", "x")
    mine = stored.opened()
    others = make("other", parts=PARTS | {"pki/ca.key": b"the key of somebody else\n"}).opened()
    for name in ("pki/ca.key", "snapshot.db", "manifest.json"):
        assert mine[name] != others[name]
        stored.put(stored.sealed(mine | {name: others[name]}), vouching=True)
        stored.refused(Exit.REFUSED, name, "manifest", "is another")


def test_wrong_key(make: Make, tmp_path: Path) -> None:
    make_identity(tmp_path / "other.key")
    make().refused(Exit.REFUSED, "does not open", more=("--identity", str(tmp_path / "other.key")))


def test_wrong_cluster(make: Make) -> None:
    make(cluster="other").refused(Exit.REFUSED, "the backup is of cluster other, the inventory describes lab")


def test_older_minor(make: Make) -> None:
    make(kubernetes="1.35.4").refused(Exit.REFUSED, "the backup is of Kubernetes 1.35.4, older than")


def test_empty_path(make: Make, tmp_path: Path) -> None:
    stored, empty = make(), tmp_path / "empty"
    empty.mkdir()
    stored.refused(Exit.USAGE, "holds no backup", more=("--from", str(empty)))
    stored.refused(Exit.USAGE, "holds no backup of lab", more=("--from", str(empty), "--backup", "latest"))
    stored.refused(Exit.USAGE, "where", "--store", more=("--from", ""))


def test_missing_encryption_key(make: Make) -> None:
    without = {name: data for name, data in PARTS.items() if name != "encryption.yaml"}
    make(parts=without).refused(Exit.REFUSED, "the backup lacks the encryption keys, so no Secret could be read")


def test_a_sidecar_of_another_backup(make: Make) -> None:
    stored = make()
    path = stored.store / f"{stored.sidecar.name}.json"
    other = read_sidecar(path.read_bytes(), stored.sidecar.name)
    path.write_bytes(to_json(replace(other, manifest="0" * 64)))
    stored.refused(Exit.REFUSED, "manifest")
