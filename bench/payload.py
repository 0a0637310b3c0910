"""What a node is given in one go to become part of a cluster: files, binaries and a script that starts it all."""

import io
import tarfile
from collections.abc import Mapping

from cpkit import artifacts
from cpkit.inventory import Cluster, Node
from cpkit.operations.leaves import identity
from cpkit.paths import cache_dir
from cpkit.pki import Authorities, node_files

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
BALANCER = ("haproxy", "keepalived")
BINARIES_ON_NODE = "/var/cache/cpkit/artifacts"
CA_ON_BALANCER = "/etc/haproxy/kubernetes-ca.crt"


def payload(files: Mapping[str, tuple[str, int]]) -> bytes:
    """A tar of path -> (content, mode)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, (content, mode) in files.items():
            data = content.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def files_of(
    node: Node, cluster: Cluster, texts: Mapping[str, str], authorities: Authorities
) -> dict[str, tuple[str, int]]:
    """Every file of a node: path -> (content, mode)."""
    files = {path: (content, 0o600 if path.endswith(".service") else 0o644) for path, content in texts.items()}
    if node.role == "load_balancer":
        files[CA_ON_BALANCER] = (authorities.cluster.certificate_pem, 0o644)
        return files
    for file in node_files(identity(cluster, node), authorities, {}):
        files[file.path] = (file.content, int(file.mode, 8))
    return files


def script(node: Node, cluster: Cluster) -> str:
    """Unpack what comes on stdin, put the binaries in place, and tell every unit to start without waiting for it."""
    lines = ["set -e", "tar --extract --file=- --directory=/ --no-same-owner --preserve-permissions"]
    if node.role == "load_balancer":
        lines += [f"systemctl restart --no-block {' '.join(BALANCER)}"]
        return "\n".join(lines)
    lines += [
        "systemd-sysusers /etc/sysusers.d/cpkit.conf",
        "chown etcd /etc/kubernetes/pki/etcd/server.key /etc/kubernetes/pki/etcd/peer.key",
        "install -d -m 0700 -o etcd -g etcd /var/lib/etcd",
        "install -d -m 0700 /var/log/kubernetes",
        *_binaries(cluster),
        "systemctl daemon-reload",
        f"systemctl enable --quiet --now --no-block {' '.join(CONTROL_PLANE)}",
    ]
    return "\n".join(lines)


def _binaries(cluster: Cluster) -> list[str]:
    bundle = artifacts.cached(cluster.spec.kubernetes, cluster.spec.etcd)
    assert bundle, "the binaries are fetched before anything is measured"
    lines, placed = [], dict[str, str]()
    for binary in bundle.binaries:
        home = f"/opt/cpkit/{binary.component}"
        target = f"{home}/{binary.version}/{binary.name}"
        lines.append(f"mkdir -p {home}/{binary.version}")
        if binary.sha256 in placed:
            lines.append(f"ln {placed[binary.sha256]} {target}")
        else:
            source = f"{BINARIES_ON_NODE}/{binary.path.relative_to(cache_dir() / 'artifacts')}"
            lines.append(f"install -m 0755 {source} {target}")
        placed.setdefault(binary.sha256, target)
        lines.append(f"ln -sfn {binary.version} {home}/current")
    return lines
