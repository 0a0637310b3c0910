"""What a restore finds and what forbids it, before anything is stopped; pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cpkit.backup import SNAPSHOT, Manifest
from cpkit.backup.parts import part_name, secret
from cpkit.errors import CpkitError, Refused, Unreachable, UsageError
from cpkit.facts.ground import ABORTING, Ground, Marker
from cpkit.health.finding import Finding, Level
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.pki.authorities import ENCRYPTION, SERVICE_ACCOUNT_PUBLIC, SHARED_FILES
from cpkit.versions import Version

MIB = 1 << 20
SPARE = 128 * MIB  # etcd reserves its log's first file
COMPARED = (*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC)  # what the nodes must hold as the backup does
OWN_PLACE = ("data-dir", "wal-dir")
# Keys that go by themselves, and leases, of which a restore takes away those of what runs no more.
LEASED = ("masterleases", "peerserverleases", "events", "events.k8s.io/events", "leases")
LACKING = "restore.lacking"
FLAG = re.compile(r"--([a-z-]+)=(\S+)")
LOOK = "Look closer with: cpkit health"


@dataclass(frozen=True)
class UnderWay:
    """A restore that was begun and is not over; `stages` says how far it has come on each node, "" for not begun."""

    restore: str
    backup: str
    stages: dict[str, str]
    aside: tuple[str, ...]

    def anywhere(self, stage: str) -> bool:
        """Whether any node has come so far."""
        return any(Marker(stage=each).reached(stage) for each in self.stages.values())

    def everywhere(self, stage: str) -> bool:
        """Whether all nodes have come so far."""
        return all(Marker(stage=each).reached(stage) for each in self.stages.values())

    @property
    def going_back(self) -> bool:
        """Whether it is being taken back."""
        return ABORTING in self.stages.values()


def present(cluster: Cluster, lost: frozenset[str]) -> Cluster:
    """The cluster without the nodes that are gone for good; Refused when the others are no majority."""
    names = [node.name for node in cluster.control_plane]
    strangers = sorted(lost - set(names))
    if strangers:
        raise UsageError(f"{strangers[0]!r} is no control-plane node", hint=f"There are {join(names)}.")
    left = tuple(node for node in cluster.control_plane if node.name not in lost)
    if 2 * len(left) <= len(names):
        raise Refused(
            f"without {join(sorted(lost))} no majority of the {len(names)} control-plane nodes is left",
            hint="Take the lost ones out of the inventory, so that what is left is a cluster of its own.",
        )
    return replace(cluster, control_plane=left)


def under_way(grounds: Mapping[str, Ground]) -> UnderWay | None:
    """The restore that is under way on the nodes, None when there is none; Refused when the nodes tell of several."""
    begun = {name: each.marker for name, each in grounds.items() if each.marker and each.marker.under_way}
    if not begun:
        return None
    told = {marker.restore: marker for marker in begun.values()}
    if len(told) > 1:
        words = join(f"{name} of {marker.backup}" for name, marker in begun.items())
        raise Refused(f"several restores are under way: {words}", hint="They exclude one another; ask for help.")
    marker = next(iter(told.values()))
    finished = {name: each.marker for name, each in grounds.items() if each.marker and each.marker.restore in told}
    stages = {name: finished[name].stage if name in finished else "" for name in grounds}
    aside = tuple(f"{name}:{each.aside}" for name, each in finished.items() if each.aside)
    return UnderWay(marker.restore, marker.backup, stages, aside)


def restored_name(backup: str, revision: int) -> str:
    """What a restore is known by on the nodes: the backup, and the revision a stream led to after it."""
    return f"{backup}@{revision}" if revision else backup


def named(restored: str) -> tuple[str, int]:
    """The backup and the revision of such a name; 0 for the backup's own."""
    backup, _, revision = restored.partition("@")
    return backup, int(revision or 0)


def refuse_other(found: UnderWay | None, backup: str, grounds: Mapping[str, Ground]) -> None:
    """Raise unless a restore of this backup may begin, or go on, on these nodes."""
    if found is None:
        return
    if found.backup != backup:
        raise Refused(
            f"a restore of {found.backup} is under way",
            hint="Finish it by naming that backup, or go back to the old data: cpkit restore etcd --abort",
        )
    if found.going_back:
        raise Refused("this restore is being taken back", hint="Finish that: cpkit restore etcd --abort")
    silent = [name for name, each in grounds.items() if each.error]
    lost = [name for name, stage in found.stages.items() if not Marker(stage=stage).reached("switched")]
    if found.anywhere("committed") and [name for name in lost if name not in silent]:
        raise Refused(
            "the others are past the point of no return of this restore, and this node has lost its part in it",
            node=next(name for name in lost if name not in silent),
            hint="Take it out of the inventory's control plane, finish the restore, and replace the node afterwards.",
        )


def refuse_abort(found: UnderWay | None, grounds: Mapping[str, Ground]) -> UnderWay:
    """The restore to go back from; raises when there is none, or no way back."""
    silent = {name: each for name, each in grounds.items() if each.error}
    if silent:
        name, ground = next(iter(silent.items()))
        raise Unreachable(
            f"how far the restore has come here is not known: {ground.error}",
            node=name,
            hint="A restore is taken back on all nodes at once. Bring this one back first; if it is gone for good:\n"
            f"  --lost {name}",
        )
    if found is None:
        raise UsageError("no restore is under way", hint="There is nothing to go back from.")
    if found.anywhere("committed"):
        places = join(found.aside)
        raise Refused(
            f"there is no way back from the restore of {found.backup}: etcd may have taken writes on the new data",
            hint="Finish it with the same command. The old data is kept. To bring it back all the same, stop the four\n"
            "  services on every node, put the old `member` in the place of the new on every node, start etcd on all\n"
            f"  of them, then the rest. It lies at {places}",
        )
    return found


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


def describe(
    cluster: Cluster, manifest: Manifest, name: str, grounds: Mapping[str, Ground], found: UnderWay | None
) -> str:
    """The plan in words."""
    newest = f"revision {manifest.revision} of {manifest.created:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"This finishes the restore of {name}" if found else f"This restores {cluster.name} from {name}",
        f"  {newest}, Kubernetes {manifest.kubernetes}, etcd {manifest.etcd}, {_keys_told(manifest)}",
        f"  What was written since {manifest.created:%Y-%m-%d %H:%M:%S} UTC is undone: objects, tokens, leases.",
        "  The API is away meanwhile, and all clients list anew.",
        "",
    ]
    width = max(map(len, grounds))
    for node, ground in grounds.items():
        stage = found.stages.get(node, "") if found else ""
        held = f"{ground.data_size / MIB:.1f} MiB of data, moved aside" if ground.member else "no data yet"
        lines.append(f"  {node:{width}}  {f'has come to: {stage}' if stage else held}")
    again = [node for node, ground in grounds.items() if ground.marker and ground.marker.backup == name]
    if again and not found:
        lines += ["", f"  {join(again)} were restored from this backup before; what was written since is undone again."]
    return "\n".join(lines)


def _keys_told(manifest: Manifest) -> str:
    return f"{manifest.keys} keys" if manifest.keys is not None else "an unknown number of keys"


def miscounted(manifest: Manifest, counts: Mapping[str, int]) -> tuple[str, ...]:
    """The resources whose number is not what the backup's manifest says; those that expire may be fewer."""
    if manifest.resources is None:
        return ()
    wrong = []
    for name in sorted({*manifest.resources, *counts}):
        before, now = manifest.resources.get(name, 0), counts.get(name, 0)
        if before != now and not (name in LEASED and now < before):
            wrong.append(f"{name}: {now} of {before}")
    return tuple(wrong)
