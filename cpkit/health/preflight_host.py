"""Whether every machine is fit for its role."""

import re
from statistics import median

from cpkit.facts.preflight_snapshot import Disk, Facts, PreflightSnapshot
from cpkit.health.check import Verdict, fail, ok, unknown, warn
from cpkit.health.finding import Level
from cpkit.health.preflight_verdict import Verdicts, readable, size

GB = 10**9
MOST_SKEW = 0.2  # seconds
SLOW_FSYNC_MS = 10
# A machine sold with 2 GB shows less: firmware and the kernel keep some for themselves.
ENOUGH_MEMORY, LEAST_MEMORY = 1.7 * GB, 0.85 * GB
OLDEST = {"debian": 12.0, "ubuntu": 22.04}
OLDEST_RHEL = 9.0
OLDEST_SYSTEMD = 249  # Ubuntu 22.04's
MACHINES = ("x86_64", "aarch64")
# What each disk needs: warn below the first, fail below the second.
ROOM = {"etcd": (2 * GB, GB), "binaries": (2 * GB, GB), "state": (2 * GB, GB), "packages": (GB, GB // 5)}
FEW_INODES = 1000
PACKAGE_OF = {"systemctl": "systemd", "ip": "iproute2"}


def _supported(facts: Facts) -> tuple[Level, str]:
    name, like = facts.os.get("ID", ""), facts.os.get("ID_LIKE", "").split()
    title = f"{facts.os.get('PRETTY_NAME', name or 'an unknown system')}, {facts.machine}"
    number = re.match(r"\d+(\.\d+)?", facts.os.get("VERSION_ID", ""))
    version = float(number.group()) if number else None
    if facts.machine not in MACHINES:
        return "fail", f"{title}: no binaries for this machine type"
    if name in OLDEST:
        if version is None:
            return "warn", f"{title}: not a release"
        return ("ok", title) if version >= OLDEST[name] else ("fail", f"{title} is too old")
    if {name, *like} & {"rhel", "centos", "fedora"}:
        return ("warn", f"{title}: not tested") if (version or 0) >= OLDEST_RHEL else ("fail", f"{title} is too old")
    if {*like} & {"debian", "ubuntu"}:
        return "warn", f"{title}: not tested"
    return "fail", f"{title} is not supported"


def os_supported(snapshot: PreflightSnapshot) -> Verdicts:
    """The operating system is one cpkit is tested on."""
    for state, facts in readable(snapshot):
        level, text = _supported(facts)
        hint = "Use Debian 12 or Ubuntu 22.04 or newer, on amd64 or arm64." if level != "ok" else ""
        yield Verdict(level, text, hint, node=state.name)


def os_systemd(snapshot: PreflightSnapshot) -> Verdicts:
    """Systemd runs the machine."""
    for state, facts in readable(snapshot):
        if not facts.systemd:
            yield fail("systemd does not run here", "cpkit's services are systemd units.", node=state.name)
        elif facts.systemd < OLDEST_SYSTEMD:
            text = f"systemd {facts.systemd} is older than {OLDEST_SYSTEMD}"
            yield warn(text, "Upgrade the operating system.", node=state.name)
        else:
            yield ok(f"systemd {facts.systemd}", node=state.name)


def memory(snapshot: PreflightSnapshot) -> Verdicts:
    """A control-plane node has 2 GB of memory."""
    for state, facts in readable(snapshot, "control_plane"):
        level: Level = "ok"
        if facts.memory < ENOUGH_MEMORY:
            level = "warn" if facts.memory >= LEAST_MEMORY else "fail"
        hint = "Give it 2 GB: etcd and kube-apiserver are killed when memory runs out." if level != "ok" else ""
        yield Verdict(level, size(facts.memory), hint, node=state.name)


def cpu(snapshot: PreflightSnapshot) -> Verdicts:
    """A control-plane node has two CPUs."""
    for state, facts in readable(snapshot, "control_plane"):
        if facts.cpus < 2:
            hint = "Give it two: with one, etcd misses heartbeats while kube-apiserver works."
            yield warn("1 CPU", hint, node=state.name)
        else:
            yield ok(f"{facts.cpus} CPUs", node=state.name)


def _room(disk: Disk, enough: float, least: float) -> tuple[Level, str, str]:
    if disk.read_only:
        return "fail", f"{disk.path} is mounted read-only", "Look for disk errors with `dmesg`, then remount it."
    if 0 <= disk.inodes < FEW_INODES:
        return (
            "fail",
            f"{disk.inodes} inodes free for {disk.path}",
            f"Remove small files: `du --inodes -x {disk.path}`.",
        )
    text = f"{size(disk.free)} free for {disk.path}"
    if disk.free >= enough:
        return "ok", text, ""
    hint = f"{size(enough)} are wanted. See what fills it with `du -xh {disk.path} | sort -h | tail`."
    return ("warn" if disk.free >= least else "fail"), text, hint


def _disks(snapshot: PreflightSnapshot, *kinds: str) -> Verdicts:
    for state, facts in readable(snapshot):
        for kind, disk in facts.disks.items():
            if kind in kinds:
                yield Verdict(*_room(disk, *ROOM[kind]), node=state.name)


def disk_etcd(snapshot: PreflightSnapshot) -> Verdicts:
    """There is room for etcd's data."""
    return _disks(snapshot, "etcd")


def disk_binaries(snapshot: PreflightSnapshot) -> Verdicts:
    """There is room for binaries, packages and state."""
    return _disks(snapshot, "binaries", "state", "packages")


def clock_skew(snapshot: PreflightSnapshot) -> Verdicts:
    """The nodes' clocks agree within 200 ms."""
    clocks = {state.name: state.clock for state in snapshot.nodes if state.clock}
    if len(clocks) < 2:
        return
    first = min(clocks.values(), key=lambda clock: clock.offset)
    last = max(clocks.values(), key=lambda clock: clock.offset)
    spread, error = last.offset - first.offset, first.error + last.error
    if spread <= MOST_SKEW:
        yield ok(f"{spread * 1000:.0f} ms apart at most (±{error * 1000:.0f} ms)")
    elif spread - error <= MOST_SKEW:
        text = f"{spread * 1000:.0f} ms apart, but only measured to ±{error * 1000:.0f} ms"
        yield unknown(text, "The connection to the nodes is slow. Try again from nearer to them.")
    else:
        middle = median(clock.offset for clock in clocks.values())
        for name, clock in clocks.items():
            away = clock.offset - middle
            # A spread over the limit puts at least one clock half of it from the middle.
            if abs(away) > MOST_SKEW / 2:
                text = f"{abs(away):.3f} s {'ahead of' if away > 0 else 'behind'} the other nodes"
                hint = "Set it by NTP: `timedatectl set-ntp true`. Leases, tokens and certificates depend on it."
                yield fail(text, hint, node=name)


def units_tools(snapshot: PreflightSnapshot) -> Verdicts:
    """The commands and packages the roles need are there or can be installed."""
    for state, facts in readable(snapshot):
        missing = [tool for tool in PACKAGE_OF if tool not in facts.tools]
        for tool in missing:
            package = PACKAGE_OF[tool]
            yield fail(f"{tool} is missing", f"Install it: `apt-get install {package}`.", node=state.name)
        for package, found in facts.packages.items():
            if found in ("missing", "unknown"):
                text = f"{package} is not installed, and no package of that name is known"
                hint = f"Run `apt-get update`, give the node a package mirror, or install {package} by hand."
                yield warn(text, hint, node=state.name)
        if not missing and not {"missing", "unknown"} & {*facts.packages.values()}:
            detail = ", ".join(f"{package} {found}" for package, found in facts.packages.items())
            yield ok(detail or "all there", node=state.name)


def etcd_fsync(snapshot: PreflightSnapshot) -> Verdicts:
    """The disk etcd writes to is fast enough."""
    for state in snapshot.nodes:
        found = state.measured.fsync if state.measured else None
        if not found:
            continue
        if found.error or not found.count:
            text = f"{found.path} cannot be written to: {found.error or 'no write ended in time'}"
            yield fail(text, "etcd could not write there either.", node=state.name)
            continue
        text = f"p99 {found.p99_ms:.1f} ms in {found.path} ({found.count:,} writes)"
        if found.p99_ms > SLOW_FSYNC_MS:
            hint = "etcd wants less than 10 ms: use an SSD of its own, not one shared with other work."
            yield warn(text, hint, node=state.name)
        else:
            yield ok(text, node=state.name)
