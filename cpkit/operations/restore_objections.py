"""Everything that forbids to restore a backup onto these nodes; pure."""

import re
from collections.abc import Iterator, Mapping

from cpkit.backup import SNAPSHOT, Manifest
from cpkit.backup.parts import part_name, secret
from cpkit.errors import CpkitError
from cpkit.facts.ground import Ground, Marker
from cpkit.health.finding import Finding, Level
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.operations.restore_under_way import UnderWay
from cpkit.pki.authorities import ENCRYPTION, SERVICE_ACCOUNT_PUBLIC, SHARED_FILES
from cpkit.versions import Version

MIB = 1 << 20
SPARE = 128 * MIB  # etcd reserves its log's first file
COMPARED = (*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC)  # what the nodes must hold as the backup does
OWN_PLACE = ("data-dir", "wal-dir")
LACKING = "restore.lacking"
FLAG = re.compile(r"--([a-z-]+)=(\S+)")
LOOK = "Look closer with: cpkit health"


def objections(
    cluster: Cluster,
    manifest: Manifest,
    grounds: Mapping[str, Ground],
    found: UnderWay | None,
    *,
    unbuilt: bool = False,
) -> tuple[Finding, ...]:
    """Everything that forbids to restore this backup onto these nodes, and what is worth knowing.

    What `unbuilt` nodes lack, they are given first; what they have must be right all the same.
    """
    of_nodes = (
        finding
        for name, ground in grounds.items()
        for finding in _of_node(cluster, manifest, name, ground, prepared=_prepared(found, name))
    )
    kept = tuple(finding for finding in of_nodes if not (unbuilt and finding.check == LACKING))
    return tuple(_of_backup(cluster, manifest)) + kept


def settings(cluster: Cluster, unit: str) -> tuple[Finding, ...]:
    """What the backup's API server was told, by its unit, and the inventory tells otherwise; the data hangs on it."""
    wanted = {
        "service-cluster-ip-range": str(cluster.spec.cluster_service_cidr),
        "service-account-issuer": f"https://kubernetes.default.svc.{cluster.spec.cluster_dns_domain}",
    }
    told = dict(FLAG.findall(unit))
    return tuple(
        _fail("settings", f"the backup's API server had --{name}={told[name]}, the inventory makes it {value}")
        for name, value in wanted.items()
        if name in told and told[name] != value and name not in cluster.spec.kube_apiserver_extra_args
    )


def _prepared(found: UnderWay | None, node: str) -> bool:
    return found is not None and Marker(stage=found.stages.get(node, "")).reached("prepared")


def _of_backup(cluster: Cluster, manifest: Manifest) -> Iterator[Finding]:
    spec = cluster.spec
    yield from _same_minor("kubernetes", "Kubernetes", manifest.kubernetes, spec.kubernetes)
    yield from _same_minor("etcd", "etcd", manifest.etcd, spec.etcd)
    storage = _version(manifest.storage_version)
    if storage and (storage.major, storage.minor) > (spec.etcd.major, spec.etcd.minor):
        text = f"the database has the storage version {storage.series}, too new for etcd {spec.etcd}"
        yield _fail("storage", text, hint="Set cluster_etcd_version to what wrote it.")
    held = {part.name for part in manifest.parts}
    missing = [part_name(path) for path in COMPARED if part_name(path) not in held]
    if missing:
        words = "the encryption keys, so no Secret could be read" if "encryption.yaml" in missing else join(missing)
        hint = "It was taken in the clear, without keys. Restore from one that is encrypted."
        yield _fail("keys", f"the backup lacks {words}", hint=hint)
    moved = [name for name in OWN_PLACE if name in spec.etcd_extra_args]
    if moved:
        yield _fail("place", f"etcd_extra_args sets {join(moved)}, and a restore knows etcd_data_dir alone")
    if not manifest.source.quorum:
        yield _finding("warn", "quorum", "the backup was taken without quorum: it may lack the last writes")


def _same_minor(check: str, what: str, told: str, wanted: Version) -> Iterator[Finding]:
    held = _version(told)
    if held is None:
        yield _fail(check, f"the backup tells no version of {what}")
    elif held.series != wanted.series:
        age = "older" if (held.major, held.minor) < (wanted.major, wanted.minor) else "newer"
        text = f"the backup is of {what} {held}, {age} than the inventory's {wanted}"
        hint = f"Restore onto {what} {held.series}, and change the version afterwards."
        yield _fail(check, text, hint=hint)


def _of_node(cluster: Cluster, manifest: Manifest, name: str, ground: Ground, *, prepared: bool) -> Iterator[Finding]:
    if ground.error:
        hint = f"{ground.hint}\n  If it is gone for good: --lost {name}".strip()
        yield _finding("unknown", "reach", f"it cannot be asked: {ground.error}", node=name, hint=hint)
        return
    if ground.cluster not in {"", cluster.name}:
        yield _fail("cluster", f"the node belongs to cluster {ground.cluster}", node=name)
    yield from _versions(cluster, name, ground)
    yield from _keys(manifest, name, ground)
    if not prepared:
        yield from _room(manifest, name, ground)


def _versions(cluster: Cluster, name: str, ground: Ground) -> Iterator[Finding]:
    wanted = {"etcd": (ground.etcdutl, cluster.spec.etcd), "Kubernetes": (ground.kubernetes, cluster.spec.kubernetes)}
    for what, (told, version) in wanted.items():
        held = _version(told)
        if held is None:
            yield _fail("lacking", f"{what} is not installed", node=name, hint="Install it first: cpkit bootstrap")
        elif held.series != version.series:
            text = f"{what} {held} is installed, the inventory asks for {version}"
            yield _fail(
                "binaries", text, node=name, hint="Finish the upgrade that was begun, or correct the inventory."
            )


def _keys(manifest: Manifest, name: str, ground: Ground) -> Iterator[Finding]:
    held = {part.name: part.sha256 for part in manifest.parts}
    for path in COMPARED:
        wanted, found = held.get(part_name(path)), ground.digests.get(path, "")
        if wanted is None or wanted == found:
            continue
        if not found:
            yield _fail("lacking", f"{path} is missing", node=name, hint="Lay the keys down first: cpkit bootstrap")
        elif path == ENCRYPTION:
            text = f"{path} is another one than in the backup, so its Secrets could not be read"
            hint = "Add the backup's key to the node's configuration, or put the backup's back. It is in the backup."
            yield _fail("keys", text, node=name, hint=hint)
        else:
            kind = "key" if secret(path) else "certificate"
            text = f"{path} is another {kind} than in the backup"
            yield _fail("keys", text, node=name, hint="The backup is of another cluster, or of before a rotation.")


def _room(manifest: Manifest, name: str, ground: Ground) -> Iterator[Finding]:
    size = manifest.part(SNAPSHOT).size
    shared = ground.data_disk.device == ground.snapshot_disk.device
    rooms = [("etcd's disk", ground.data_disk.free, (3 if shared else 2) * size + SPARE)]
    if not shared:
        rooms.append(("the disk of /var/lib/cpkit", ground.snapshot_disk.free, size + SPARE))
    for what, free, needed in rooms:
        if free < needed:
            text = f"{free / MIB:.0f} MiB free on {what}, {needed / MIB:.0f} MiB needed beside the data that is there"
            yield _fail("disk", text, node=name, hint="Make room; the old data is moved aside, never deleted.")


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except CpkitError:
        return None


def _fail(check: str, text: str, *, node: str = "", hint: str = LOOK) -> Finding:
    return _finding("fail", check, text, node=node, hint=hint)


def _finding(level: Level, check: str, text: str, *, node: str = "", hint: str = "") -> Finding:
    return Finding(f"restore.{check}", node, level, text, hint)
