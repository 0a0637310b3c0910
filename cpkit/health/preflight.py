"""Whether these machines may become this cluster: named checks, each with its fix, and always all of them."""

from collections.abc import Callable

from cpkit.facts.preflight_snapshot import PreflightSnapshot
from cpkit.health import preflight_host as host
from cpkit.health import preflight_network as network
from cpkit.health.finding import Finding
from cpkit.health.preflight_access import access
from cpkit.health.preflight_leftovers import leftovers
from cpkit.health.preflight_verdict import Verdicts
from cpkit.health.preflight_vip import vip_unused

CHECKS: dict[str, Callable[[PreflightSnapshot], Verdicts]] = {
    "ssh.reach": access("ssh.reach"),
    "ssh.host-key": access("ssh.host-key"),
    "ssh.login": access("ssh.login"),
    "python3": access("python3"),
    "become-password": access("become-password"),
    "sudo": access("sudo"),
    "facts": access("facts"),
    "os.supported": host.os_supported,
    "os.systemd": host.os_systemd,
    "memory": host.memory,
    "cpu": host.cpu,
    "disk.etcd": host.disk_etcd,
    "disk.binaries": host.disk_binaries,
    "etcd.fsync": host.etcd_fsync,
    "clock.skew": host.clock_skew,
    "units.tools": host.units_tools,
    "names.unique": network.names_unique,
    "addresses.unique": network.addresses_unique,
    "ports.free": network.ports_free,
    "ports.reachable": network.ports_reachable,
    "endpoint.binding": network.endpoint_binding,
    "vip.unused": vip_unused,
    "leftovers": leftovers,
}


def judge(snapshot: PreflightSnapshot) -> tuple[Finding, ...]:
    """Every finding of every check, in the order of CHECKS."""
    return tuple(
        Finding(name, said.node, said.level, said.text, said.hint)
        for name, check in CHECKS.items()
        for said in check(snapshot)
    )
