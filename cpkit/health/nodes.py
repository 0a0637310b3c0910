"""The machines: reachable, units up, room on disk, one time, a disk fast enough for etcd."""

from collections.abc import Iterator, Mapping
from statistics import median

from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Seen, Verdict, check, fail, node_check, ok, unknown, warn
from cpkit.health.quorum import join

UNITS = {
    "control_plane": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "load_balancer": ("haproxy", "keepalived"),
}
FLAPPING, RECENT = 3, 600.0  # restarts, and seconds within which they matter
DISK_WARN, DISK_FAIL = 0.20, 0.05  # of the file system free
SKEW_WARN, SKEW_FAIL = 0.2, 5.0  # seconds
FSYNC_WARN, FSYNC_FAIL = 0.010, 1.0  # seconds, the 99th percentile
SLOW_DISK = "etcd wants a fast disk of its own; slow ones cause elections. cpkit preflight measures it."


@node_check("node.reachable", scope="node", gate=("before", "after"))
def reachable(seen: Seen) -> Iterator[Verdict]:
    """The node answers over SSH and could say what it knows."""
    yield ok(f"answers at {seen.node.address}")


@node_check("node.units", scope="node", gate=("before", "after"))
def units(seen: Seen) -> Iterator[Verdict]:
    """Every unit that belongs on the node runs, and stays up."""
    wanted, bad = UNITS[seen.node.role], False
    for name in wanted:
        unit = seen.host.units.get(name)
        logs = f"On {seen.node.name}: systemctl status {name}, journalctl -u {name}"
        if unit is None:
            bad = True
            yield unknown(f"{name}: {seen.host.missing.get('services', 'not read')}", logs)
        elif unit.loaded == "not-found":
            bad = True
            yield fail(f"{name} is not installed", "Run cpkit bootstrap.")
        elif not unit.running:
            bad = True
            yield fail(f"{name} is {unit.state} ({unit.sub})", logs)
        elif unit.restarts >= FLAPPING and seen.host.uptime - unit.started < RECENT:
            bad = True
            yield warn(
                f"{name} was restarted {unit.restarts} times, last {seen.host.uptime - unit.started:.0f} s ago", logs
            )
    if not bad:
        yield ok(f"{join(wanted)} running")


@node_check("node.disk", gate=("after",))
def disk(seen: Seen) -> Iterator[Verdict]:
    """There is room under etcd's data directory."""
    found = seen.host.disk
    if found is None or not found.size:
        yield unknown(f"not known: {seen.host.missing.get('disk', 'not read')}", "Is etcd_data_dir right?")
        return
    free = min(found.free / found.size, found.inodes_free)
    text = f"{found.free / (1 << 30):.1f} GiB free under {found.path} ({free:.0%})"
    hint = f"Make room under {found.path}: etcd stops, and may tear its log, when it cannot write."
    if free <= DISK_FAIL:
        yield fail(text, hint)
    else:
        yield warn(text, hint) if free <= DISK_WARN else ok(text)


@check("node.clock")
def clock(snapshot: Snapshot) -> Iterator[Verdict]:
    """The nodes agree on the time; a difference counts only beyond what the measurement may be wrong by."""
    clocks = {name: node.clock for name, node in snapshot.nodes.items() if node.clock}
    if not clocks:
        yield unknown("no node told its time", "Make the nodes reachable over SSH, then ask again.")
        return
    middle = median(clock.offset for clock in clocks.values())
    doubt = median(clock.error for clock in clocks.values())
    worst = 0.0
    for name, clock in clocks.items():
        away = clock.offset - middle
        certain = max(0.0, abs(away) - clock.error - doubt)
        worst = max(worst, certain)
        if certain > SKEW_WARN:
            text = f"{abs(away):.1f} s {'ahead of' if away > 0 else 'behind'} the other nodes"
            hint = f"Set the time on {name}: systemctl status chrony systemd-timesyncd"
            yield fail(text, hint, node=name) if certain > SKEW_FAIL else warn(text, hint, node=name)
    if worst <= SKEW_WARN:
        yield ok(f"{len(clocks)} clocks agree within {SKEW_WARN * 1000:.0f} ms, give or take {doubt * 1000:.0f} ms")


@node_check("node.fsync")
def fsync(seen: Seen) -> Iterator[Verdict]:
    """Etcd's log reaches the disk fast enough."""
    p99 = quantile(seen.host.fsync, 0.99)
    if p99 is None:
        yield unknown(
            f"not known: {seen.host.missing.get('fsync', 'no sample yet')}", "etcd's metrics tell it when etcd runs."
        )
        return
    text = f"p99 {p99 * 1000:.1f} ms since etcd started"
    if p99 > FSYNC_FAIL:
        yield fail(text, SLOW_DISK)
    else:
        yield warn(text, SLOW_DISK) if p99 > FSYNC_WARN else ok(text)


@check("node.peers", gate=("before", "after"))
def peers(snapshot: Snapshot) -> Iterator[Verdict]:
    """Every node reaches every control-plane node on the ports they share."""
    dials: dict[str, dict[str, str]] = {}
    for name, facts in snapshot.nodes.items():
        for target, error in (facts.host.peers if facts.host else {}).items():
            dials.setdefault(target, {})[name] = error
    for target, views in dials.items():
        node, port = target.rsplit(":", 1)
        lost = [name for name, error in views.items() if error]
        if not lost:
            continue
        who = "nobody reaches" if len(lost) == len(views) else f"{join(lost)} cannot reach"
        why = next(error for error in views.values() if error)
        yield fail(
            f"{who} its port {port}: {why}", f"Is the service on {node} up, and does a firewall let it pass?", node=node
        )
    if not dials:
        if len(snapshot.control_plane) > 1:
            yield unknown("no node told whom it reaches", "Make the nodes reachable over SSH, then ask again.")
    elif not any(error for views in dials.values() for error in views.values()):
        yield ok(f"{sum(map(len, dials.values()))} paths between the nodes are open")


def quantile(histogram: Mapping[str, float], q: float) -> float | None:
    """A quantile of a cumulative histogram, taken as evenly spread within its bucket; None without samples."""
    buckets = sorted((float(bound), count) for bound, count in histogram.items())
    if not buckets or not buckets[-1][1]:
        return None
    rank, below, seen = q * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > seen:
            top = below if bound == float("inf") else bound
            return below + (top - below) * (rank - seen) / (count - seen)
        below, seen = bound, count
    return below
