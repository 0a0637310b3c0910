"""What a bootstrap finds: nothing yet, a beginning, or a cluster that must not be initialised again."""

from dataclasses import dataclass
from typing import Literal

from cpkit.continuity import refuse_lost_data
from cpkit.errors import Refused
from cpkit.facts.snapshot import Snapshot

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
UNITS = {
    "control_plane": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "load_balancer": ("haproxy", "keepalived"),
}


@dataclass(frozen=True)
class Standing:
    """How far a cluster has come."""

    stage: Literal["new", "begun", "running"]
    absent: dict[str, tuple[str, ...]]  # node -> units that do not run there


def standing(snapshot: Snapshot) -> Standing:
    """How far the cluster has come; Refused when its members are not the inventory's nodes, or lost their data.

    A cluster that exists is never initialised again: bootstrap neither adds nor removes a member.
    """
    _refuse_other_members(snapshot)
    hosts = {name: node.host for name, node in snapshot.control_plane.items() if node.host}
    refuse_lost_data(
        {name: host.etcd_data for name, host in hosts.items() if host.etcd_data is not None},
        established=any(
            "kube-apiserver" in host.units and host.units["kube-apiserver"].loaded != "not-found"
            for host in hosts.values()
        ),
    )
    absent = {name: _absent(snapshot, name) for name in snapshot.nodes}
    running = not any(absent.values())
    known = bool(snapshot.etcd.members)
    return Standing("running" if running else "begun" if known or _any_unit(snapshot) else "new", absent)


def refuse_other_versions(snapshot: Snapshot) -> None:
    """Refused when what runs, or would be started, is not the version the inventory asks for.

    Bootstrap would otherwise start another version on whichever node happens to be down, without any gate.
    """
    for name, node in snapshot.control_plane.items():
        for component, found in (node.host.components if node.host else {}).items():
            version = found.running or found.selected
            wanted = snapshot.plan.etcd if component == "etcd" else snapshot.plan.kubernetes
            emulates = found.emulates if found.running else found.would_emulate
            if version and component in KUBERNETES and emulates != snapshot.plan.emulates:
                raise Refused(
                    f"{component} {version} behaves like {emulates or 'itself'}, and cluster_emulated_version is "
                    f"{snapshot.plan.emulates or 'not set'}: bootstrap does not change that",
                    node=name,
                    hint="End an upgrade, or take it back, one gated node at a time: cpkit upgrade finalize, "
                    "cpkit upgrade rollback\n  Or set cluster_emulated_version back to what runs.",
                )
            if version not in {"", wanted}:
                raise Refused(
                    f"{component} is {version}, and the inventory asks for {wanted}: bootstrap changes no version",
                    node=name,
                    hint="Upgrade one gated node at a time: cpkit upgrade rolling\n  Or set the version in the "
                    "inventory back to what runs.",
                )


def _refuse_other_members(snapshot: Snapshot) -> None:
    members = {snapshot.member_node(row): row for row in snapshot.etcd.members}
    if not members:
        return
    if stranger := members.get(""):
        raise Refused(
            f"etcd has a member {stranger.name or stranger.id} at {', '.join(stranger.peer_urls)}, "
            "which is none of the inventory's control-plane nodes",
            hint="Put that node back into the inventory, or, if it is gone for good: "
            f"cpkit node remove {stranger.name or stranger.id}",
        )
    missing = sorted(set(snapshot.plan.control_plane) - set(members))
    if missing:
        raise Refused(
            f"the cluster exists, and {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not a member of it",
            hint=f"Let {'them' if len(missing) > 1 else 'it'} join: cpkit node add {' '.join(missing)}",
        )


def _absent(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    node = snapshot.nodes[name]
    units = node.host.units if node.host else {}
    return tuple(unit for unit in UNITS[node.role] if unit not in units or not units[unit].running)


def _any_unit(snapshot: Snapshot) -> bool:
    return any(len(_absent(snapshot, name)) < len(UNITS[node.role]) for name, node in snapshot.control_plane.items())
