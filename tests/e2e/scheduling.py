"""An SFTP store on a lab's balancer that its control-plane nodes can reach as root, and what they put there."""

import io
import tarfile
from pathlib import Path

from cpkit.inventory import load
from cpkit.ssh import connect
from tests.e2e.running import Cluster

ROOT = "/srv/backups"
ACCOUNT = f"""
useradd --create-home --shell /bin/sh --password '*' keeper
install -d -m 700 -o keeper {ROOT} /home/keeper/.ssh
cat > /home/keeper/.ssh/authorized_keys
chown -R keeper /home/keeper/.ssh
"""
KEY = """
install -d -m 700 /root/.ssh
[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cat /root/.ssh/id_ed25519.pub
"""
TAKEN = "journalctl -u cpkit-backup -o cat --no-pager | sed -n 's/: taken here.*//p'"


def make_store(cluster: Cluster) -> str:
    """The URL of a new store; every node has a key of its own for it, and the balancer's host key is pinned."""
    balancer = load(cluster.lab.inventory).load_balancers[0]
    keys = cluster.on_each(KEY)
    with connect(balancer) as connection:
        made = connection.run(["sh", "-ec", ACCOUNT], stdin="\n".join(keys.values()).encode(), sudo=True, timeout=20)
        assert made.rc == 0, made.stderr
    cluster.on_each(f"ssh-keyscan -t ed25519 {balancer.address} > /root/.ssh/known_hosts")
    return f"sftp://keeper@{balancer.address}{ROOT}"


def fetched(cluster: Cluster, folder: Path) -> Path:
    """A copy of the store in a folder."""
    balancer = load(cluster.lab.inventory).load_balancers[0]
    with connect(balancer) as connection:
        done = connection.run(["tar", "-C", ROOT, "-cf", "-", "."], sudo=True, timeout=60)
        assert done.rc == 0, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def taken(cluster: Cluster, names: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """The backups that each node says it took."""
    return {node: told.split() for node, told in cluster.on_each(TAKEN, names).items()}
