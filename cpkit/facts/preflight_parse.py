"""What the scripts of preflight print on a node, as values."""

from typing import Any

from cpkit.facts.preflight_snapshot import (
    Dial,
    Disk,
    Facts,
    Fsync,
    Interface,
    Listener,
    Measured,
    Unit,
    VipProbe,
)

_PLAIN = (
    *("machine", "hostname", "machine_id", "os", "systemd", "memory", "cpus"),
    *("packages", "authority", "etcd_data_mounted"),
)
_TUPLES = ("python", "etcd_data", "kubernetes", "manifests", "resolved")


def parse_facts(raw: dict[str, Any]) -> Facts:
    """The agent's JSON document as facts."""
    marker, balancing = raw["marker"], raw["balancing"]
    plain: dict[str, Any] = {name: raw[name] for name in _PLAIN}
    tuples: dict[str, Any] = {name: tuple(raw[name]) for name in _TUPLES}
    return Facts(
        **plain,
        **tuples,
        interfaces=tuple(Interface(i["name"], i["mac"], tuple(i["addresses"])) for i in raw["interfaces"]),
        disks={name: Disk(**disk) for name, disk in raw["disks"].items()},
        listeners=tuple(Listener(**listener) for listener in raw["listeners"]),
        tools=frozenset(raw["tools"]),
        marker_name=marker["name"],
        marker_node=marker["node"],
        marker_id=marker["id"],
        units=tuple(Unit(**unit) for unit in raw["units"]),
        balancing_managed=balancing["managed"],
        balancing_in_use=balancing["in_use"],
    )


def parse_measured(raw: dict[str, Any], wanted: dict[str, Any]) -> Measured:
    """The measuring agent's JSON document, beside what it had been asked."""
    network, fsync, vip = raw["network"], raw.get("fsync"), raw.get("vip")
    return Measured(
        dials=tuple(Dial(**dial) for dial in network["dials"]),
        busy={int(port): why for port, why in network["busy"].items()},
        fsync=Fsync(path=wanted["fsync"]["path"], **fsync) if fsync else None,
        vip=VipProbe(wanted["vip"]["address"], tuple(vip["macs"]), vip["answers"], vip.get("error", ""))
        if vip
        else None,
    )
