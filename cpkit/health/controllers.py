"""The controller manager and the scheduler: running everywhere, one of each elected."""

from collections.abc import Iterator

from cpkit.facts.host import Lease
from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Seen, Verdict, check, fail, node_check, ok, unknown, warn

ELECTED = ("kube-controller-manager", "kube-scheduler")


def leases(snapshot: Snapshot) -> dict[str, Lease]:
    """The freshest view of each election that any node had."""
    best: dict[str, Lease] = {}
    for node in snapshot.control_plane.values():
        for name, lease in (node.host.leases if node.host else {}).items():
            if name not in best or lease.age < best[name].age:
                best[name] = lease
    return best


def holder(snapshot: Snapshot, lease: Lease) -> str:
    """The node that holds an election: an identity is `hostname_uuid`."""
    name = lease.holder.split("_", 1)[0]
    return name if name in snapshot.plan.control_plane else lease.holder


@check("controllers.lease")
def elected(snapshot: Snapshot) -> Iterator[Verdict]:
    """One controller manager and one scheduler hold their lease and renew it in time."""
    seen = leases(snapshot)
    for name in ELECTED:
        lease = seen.get(name)
        hint = f"On every node: systemctl status {name}, journalctl -u {name}"
        if lease is None:
            yield unknown(f"{name}: no API server told who holds the lease", "Look at api.ready first.")
        elif not lease.holder:
            yield fail(f"{name}: nobody holds the lease", hint)
        elif lease.age > lease.duration:
            text = f"{name}: {holder(snapshot, lease)} holds the lease but last renewed it {lease.age:.0f} s ago"
            yield fail(text, hint)
        else:
            yield ok(f"{name}: {holder(snapshot, lease)}, renewed {max(0.0, lease.age):.0f} s ago")


@node_check("controllers.healthy", gate=("after",))
def healthy(seen: Seen) -> Iterator[Verdict]:
    """Every controller manager and every scheduler says it is healthy, elected or not."""
    for name in ELECTED:
        probe = seen.host.probes.get(name)
        if probe is None:
            yield unknown(f"{name} was not probed", f"On the node: systemctl status {name}")
        elif probe.ok:
            yield ok(f"{name} healthy")
        else:
            text = f"{name}: {probe.error or f'HTTP {probe.status}'}"
            yield fail(text, f"On the node: systemctl status {name}, journalctl -u {name}")


@node_check("controllers.signer")
def signer(seen: Seen) -> Iterator[Verdict]:
    """No controller manager is told to sign with a key that is not there: it would end as soon as it is elected."""
    if not seen.host.missing_key:
        yield ok("nothing is signed with a key that is missing")
        return
    text = f"kube-controller-manager is to sign with {seen.host.missing_key}, which is missing: elected, it will end"
    yield warn(
        text,
        "Put the key back, or switch the signer off in the inventory (kube_controller_manager_extra_args:\n"
        '  {controllers: "*,bootstrapsigner,tokencleaner,-certificatesigningrequest-signing-controller"}) and run:\n'
        "  cpkit reconfigure",
    )
