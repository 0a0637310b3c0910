"""A real API server in front of a real etcd, with objects in it, for tests of what is done with backups of it."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpkit.artifacts import Bundle, cached
from cpkit.backup.parts import part_name
from cpkit.backup.sandbox import Ground, Member, apiserver, ground, laying, member
from cpkit.backup.sandbox.credentials import SERVER
from cpkit.backup.sandbox.ground import Prepared
from cpkit.pki.authorities import Authorities, create
from cpkit.versions import version_table
from tests.contract.etcd_members import etcd_binary, loopback, wait_for_quorum

UNIT = "ExecStart=kube-apiserver \\\n  --service-cluster-ip-range=10.112.0.0/16 \\\n  --secure-port=6443\n"


@dataclass(frozen=True)
class Cluster:
    """An API with etcd behind it."""

    member: Member
    authorities: Authorities
    kubectl_path: Path
    kubeconfig: Path

    @property
    def parts(self) -> dict[str, bytes]:
        """What a backup holds beside the snapshot."""
        files = {part_name(path): text.encode() for path, text in self.authorities.files().items()}
        return files | {"units/kube-apiserver.service": UNIT.encode()}

    def kubectl(self, *words: str, stdin: str = "") -> str:
        command = [str(self.kubectl_path), "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def binaries() -> Bundle:
    table = version_table()
    row = table.minors[table.default]
    bundle = cached(row.kubernetes, row.etcd)
    assert bundle is not None, "fetch them first: cpkit artifacts fetch"
    return bundle


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """An empty one."""
    authorities = create(key_type="ecdsa-p256", ca_days=1)
    encryption = authorities.encryption.encode()
    with (
        ground(Prepared(binaries(), folder)) as held,
        member(held, _empty(folder, held)) as etcd,
        apiserver(held, etcd, encryption=encryption, unit=UNIT) as api,
    ):
        path = folder / "kubeconfig"
        path.write_text(_kubeconfig(held, str(api._client.base_url)))
        yield Cluster(etcd, authorities, Path(held.program("kubectl", "kubectl")), path)


def _empty(folder: Path, held: Ground) -> Path:
    """The snapshot of an etcd that nobody has written to."""
    with loopback(etcd_binary(), folder) as place:
        place.announce("empty")
        started = place.start("empty")
        wait_for_quorum(started)
        with started.client(timeout=30) as client, laying(held.scratch) as (path, lay):
            for piece in client.snapshot(timeout=30):
                lay(piece)
    return path


def _kubeconfig(held: Ground, url: str) -> str:
    keys = held.credentials

    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    cluster = {"server": url, "tls-server-name": SERVER, "certificate-authority-data": data(keys.authority)}
    user = {"client-certificate-data": data(keys.client.certificate), "client-key-data": data(keys.client.key)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )
