"""What a restore will do, in words, and what has to be there afterwards; pure."""

from collections.abc import Mapping

from cpkit.backup import Manifest
from cpkit.facts.ground import Ground
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.operations.restore_under_way import UnderWay

MIB = 1 << 20
# Keys that go by themselves, and leases, of which a restore takes away those of what runs no more.
LEASED = ("masterleases", "peerserverleases", "events", "events.k8s.io/events", "leases")


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
