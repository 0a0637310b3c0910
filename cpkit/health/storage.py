"""etcd's data: alarms, room, and whether all members hold the same keys."""

from collections.abc import Iterator

from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Asked, Verdict, check, commonest, fail, member_check, ok, silence, unknown, warn

MIB = 1 << 20
NEARLY_FULL, FULL = 0.80, 0.95  # of the quota
FRAGMENTED, WORTH_IT = 0.5, 100 * MIB  # in use of the file, and the size from which a defragmentation pays


@member_check("etcd.alarms", gate=("before", "after"))
def alarms(member: Asked) -> Iterator[Verdict]:
    """No member has raised an alarm."""
    hints = {
        "NOSPACE": "etcd refuses writes. Bring it back: cpkit etcd recover-space",
        "CORRUPT": "Its data differs from the others': stop its etcd, then: cpkit node replace NODE --abandon-data",
    }
    for alarm in member.status.alarms:
        yield fail(f"alarm {alarm}", hints.get(alarm, "See: cpkit etcd alarms"))
    if not member.status.alarms:
        yield ok("no alarm")


@member_check("etcd.size")
def size(member: Asked) -> Iterator[Verdict]:
    """The database is well below its quota."""
    quota = member.status.quota or member.snapshot.plan.quota
    used = member.status.db_in_use / quota
    text = f"{member.status.db_in_use / MIB:.1f} MiB in use, {used:.0%} of the quota of {quota / MIB:.0f} MiB"
    if used >= FULL:
        yield fail(text, "Delete what is not needed or raise etcd_quota_backend_bytes before etcd stops taking writes.")
    elif used >= NEARLY_FULL:
        yield warn(text, "Find out what grows (etcdctl get --prefix --keys-only /registry) or raise the quota.")
    else:
        yield ok(text)


@member_check("etcd.fragmentation")
def fragmentation(member: Asked) -> Iterator[Verdict]:
    """Most of the database file is in use."""
    status = member.status
    part = status.db_in_use / status.db_size if status.db_size else 1.0
    text = f"{part:.0%} of {status.db_size / MIB:.1f} MiB in use"
    if part < FRAGMENTED and status.db_size > WORTH_IT:
        yield warn(text, "Defragment one member at a time, the leader last: cpkit etcd defrag")
    else:
        yield ok(text)


@check("etcd.hash", gate=("before",))
def same_keys(snapshot: Snapshot) -> Iterator[Verdict]:
    """All members hold the same keys: their hashes at one revision are equal."""
    hashes = {n: (s.compacted, s.hash) for n, s in snapshot.etcd.statuses.items() if s.hash is not None}
    silent = [name for name in snapshot.plan.control_plane if name not in hashes]
    for compacted in sorted({compacted for compacted, _ in hashes.values()}):
        # Hashes of different compaction points cover different keys and cannot be compared.
        group = {name: value for name, (at, value) in hashes.items() if at == compacted}
        most = commonest(group.values())
        for name in (name for name, value in group.items() if value != most):
            text = f"its keys differ from the others' at revision {snapshot.etcd.revision}"
            yield fail(
                text,
                f"Do not restart it. Save a snapshot, stop its etcd, then: cpkit node replace {name} --abandon-data",
                node=name,
            )
    for name in silent:
        yield silence(snapshot, name, "it could not be hashed")
    if hashes and len({compacted for compacted, _ in hashes.values()}) > 1:
        yield unknown("a compaction ran between the hashes", "Ask again.")
    elif len(hashes) > 1 and len(set(hashes.values())) == 1:
        yield ok(f"{len(hashes)} members equal at revision {snapshot.etcd.revision}")
    elif len(snapshot.plan.control_plane) == 1 and hashes:
        yield ok("one member, nothing to compare")


@check("etcd.version")
def version(snapshot: Snapshot) -> Iterator[Verdict]:
    """All members run one version, the one the inventory asks for."""
    versions = {name: status.version for name, status in snapshot.etcd.statuses.items() if status.version}
    for name in snapshot.plan.control_plane:
        if name not in versions:
            yield silence(snapshot, name, "it told no version")
        elif versions[name] != snapshot.plan.etcd:
            text = f"runs etcd {versions[name]}, the inventory asks for {snapshot.plan.etcd}"
            yield warn(text, "Finish the upgrade, or set cluster_etcd_version to what runs.", node=name)
    if versions and set(versions.values()) == {snapshot.plan.etcd}:
        yield ok(f"etcd {snapshot.plan.etcd}")
