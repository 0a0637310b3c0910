"""Whose place each machine takes in a restore: a backup of other machines is restored on purpose, or not at all."""

from collections.abc import Iterator, Mapping, Sequence

from cpkit.backup import Manifest, Sidecar, Store, catalogue
from cpkit.backup.errors import NoSuchBackup
from cpkit.errors import UsageError
from cpkit.health.finding import Finding
from cpkit.health.quorum import join
from cpkit.inventory import Cluster

Places = Mapping[str, str]  # a node of the backup -> the node of the inventory that takes its place


def read_places(cluster: Cluster, words: Sequence[str]) -> dict[str, str]:
    """What --map says: OLD=NEW,…, where NEW is a control-plane node by name or address; UsageError otherwise.

    Nodes whose name and address are those of the backup need no word.
    """
    known = {node.address: node.name for node in cluster.control_plane} | {
        node.name: node.name for node in cluster.control_plane
    }
    found: dict[str, str] = {}
    for pair in (each.strip() for word in words for each in word.split(",")):
        old, equals, new = (each.strip() for each in pair.partition("="))
        if not (old and equals and new):
            hint = "Write --map OLD=NEW,OLD=NEW, as in --map cp1=10.0.0.21: the backup's node, then the inventory's."
            raise UsageError(f"--map: {pair!r} is no pair of nodes", hint=hint)
        if new not in known:
            hint = f"There are {_listed({node.name: node.address for node in cluster.control_plane})}."
            raise UsageError(f"--map: {new!r} is no control-plane node of the inventory", hint=hint)
        if old in found:
            raise UsageError(f"--map: {old} is given two places")
        if known[new] in found.values():
            other = next(each for each, name in found.items() if name == known[new])
            raise UsageError(f"--map: {known[new]} takes the places of both {other} and {old}")
        found[old] = known[new]
    return found


def choose(store: Store, name: str, cluster: Cluster, places: Places) -> Sidecar:
    """The backup to restore; `latest` is the cluster's own, with --map that of the one cluster the store is of."""
    if name != catalogue.LATEST:
        return catalogue.find(store, name)
    backups = catalogue.read(store).backups
    owners = sorted({each.cluster for each in backups})
    if places and len(owners) > 1:
        raise UsageError(f"{store} holds backups of {join(owners)}", hint="Say which is meant: --backup NAME")
    wanted = owners if places else [cluster.name]
    found = [each for each in backups if each.cluster in wanted]
    if found:
        return found[0]
    hint = f"It holds backups of {join(owners)}. To restore one here: --backup NAME --map OLD=NEW,…" if owners else ""
    raise NoSuchBackup(f"{store} holds no backup{'' if places else f' of {cluster.name}'}", hint=hint)


def refuse_strangers(places: Places, sidecar: Sidecar) -> None:
    """Raise when --map speaks of nodes that the backup does not know."""
    strangers = sorted(places.keys() - sidecar.nodes.keys())
    if strangers and sidecar.nodes:
        raise UsageError(
            f"--map: the backup {sidecar.name} knows no node {strangers[0]!r}",
            hint=f"It is of {_listed(sidecar.nodes)}.",
        )


def misplaced(cluster: Cluster, manifest: Manifest, places: Places) -> Iterator[Finding]:
    """What forbids these machines to take the places of the backup's."""
    kept, left, new = _placed(cluster, manifest, places)
    hint = f"To restore it onto these machines knowingly: --map {_suggested(cluster, kept, left, new)}"
    if not places and manifest.cluster != cluster.name:
        text = f"the backup is of cluster {manifest.cluster}, the inventory describes {cluster.name}"
        yield Finding("restore.cluster", "", "fail", text, hint)
    elif not places and new and manifest.nodes:
        text = f"the backup is of other machines, {_listed(manifest.nodes)}, and {_listed(new)} is none of them"
        yield Finding("restore.place", "", "fail", text, hint)
    elif places and left and new:
        text = f"no machine takes the place of {join(left)}, and {join(new)} takes nobody's"
        yield Finding("restore.place", "", "fail", text, hint)
    elif not manifest.nodes:
        yield Finding("restore.place", "", "warn", "the backup does not say of which machines it is", "")


def describe_places(cluster: Cluster, manifest: Manifest, places: Places) -> str:
    """Who takes whose place, in words; nothing without --map."""
    if not places:
        return ""
    kept, left, new = _placed(cluster, manifest, places)
    addresses = {node.name: node.address for node in cluster.control_plane}
    lines = ["", "", f"  The backup is of {manifest.cluster}. Its machines' places are taken:"]
    lines += [f"    {old} {manifest.nodes.get(old, '')} → {name} {addresses[name]}" for old, name in kept.items()]
    lines += [f"    {old} {address} → nobody" for old, address in left.items()]
    lines += [f"    nobody → {name} {address}" for name, address in new.items()]
    if manifest.endpoint not in {"", str(cluster.endpoint)}:
        lines.append(
            f"  The endpoint was {manifest.endpoint} and is {cluster.endpoint}: tell kubelets and kubeconfigs."
        )
    lines.append("  Both clusters have the same authorities and keys: see that nothing of the old one runs any more.")
    return "\n".join(lines)


def _placed(
    cluster: Cluster, manifest: Manifest, places: Places
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The places that are taken, the backup's nodes without a successor, and the nodes that take nobody's place."""
    here = {node.name: node.address for node in cluster.control_plane}
    same = {name for name, address in manifest.nodes.items() if here.get(name) == address}
    taken = {name: name for name in sorted(same - places.keys() - set(places.values()))} | dict(places)
    left = {name: address for name, address in manifest.nodes.items() if name not in taken}
    new = {name: address for name, address in here.items() if name not in taken.values()}
    return dict(sorted(taken.items())), left, new


def _suggested(cluster: Cluster, kept: Places, left: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Words that give everybody a place."""
    pairs = dict(zip(left, new.values(), strict=False))
    said = kept if not pairs else {old: name for old, name in kept.items() if old != name}
    addresses = {node.name: node.address for node in cluster.control_plane}
    told = {old: addresses[name] for old, name in said.items()} | pairs
    return ",".join(f"{old}={address}" for old, address in told.items()) or "OLD=NEW,…"


def _listed(nodes: Mapping[str, str]) -> str:
    return join(f"{name} ({address})" for name, address in nodes.items())
