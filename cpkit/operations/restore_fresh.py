"""Fresh machines for a restore: they get the backup's authorities and keys, and a cluster that is empty still."""

from collections.abc import Mapping

from cpkit import ansible
from cpkit.backup import Bundle
from cpkit.backup.parts import part_name
from cpkit.facts.ground import Ground
from cpkit.handing import handed
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations.bootstrap import Options, bootstrap
from cpkit.operations.listener import Listener, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.restore_objections import COMPARED


def unbuilt(grounds: Mapping[str, Ground]) -> bool:
    """Whether a cluster has to be built first: no node has ever run etcd, and not all have what a restore needs."""
    if any(ground.error or ground.member or ground.marker for ground in grounds.values()):
        return False
    return any(not (each.etcdutl and each.kubernetes and all(each.digests.values())) for each in grounds.values())


def build(cluster: Cluster, bundle: Bundle, listener: Listener, *, watch: WatchFactory, become_password: str) -> None:
    """Lay the backup's keys down on every node, and bootstrap a cluster that adopts them; may be cut off anywhere."""
    contents = {path: bundle.read(part_name(path)).decode() for path in COMPARED}
    with open_run(cluster.name, "restore-keys") as run, handed(contents) as descriptor:
        step = stepping(run, listener)
        variables = {"claim_owner": owner(), "etcd_restore_files_descriptor": descriptor}
        play = ansible.Play(
            "restore_keys.yml",
            cluster.inventory,
            limit="control_plane",
            variables=variables,
            become_password=become_password,
        )
        with step("Lay down the keys of the backup"):
            Plays(run, listener, keep_open=(descriptor,)).apply(play)
    options = Options(become_password=become_password)
    bootstrap(cluster, options, listener, confirm=lambda _: True, watch=watch)
