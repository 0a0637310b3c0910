"""Backup schedule: the nodes take backups by themselves as the inventory asks, or stop it when it asks for none."""

from cpkit.backup.schedule import refuse_unusable
from cpkit.inventory import Cluster, ClusterSpec
from cpkit.node.calendar import zoned
from cpkit.operations.timer import Timer


def backup_timer(cluster: Cluster) -> Timer:
    """The inventory's schedule; every reason why it cannot be is told before any node is changed."""
    spec = cluster.spec
    calendar = zoned(spec.backup_schedule_at) if spec.backup_schedule_at else ""
    if calendar:
        refuse_unusable(store_of(spec), spec.backup_recipients, spec.backup_schedule_s3_credentials)
    return Timer(
        operation="backup-schedule",
        playbook="backup_schedule.yml",
        calendar=calendar,
        plan=lambda nodes: describe(cluster, calendar, nodes) if calendar else _removal(nodes),
        step="Set the schedule" if calendar else "Take the schedule away",
    )


def store_of(spec: ClusterSpec) -> str:
    """Where the nodes put their backups."""
    return spec.backup_schedule_store or spec.backup_store


def describe(cluster: Cluster, calendar: str, nodes: str) -> str:
    """The plan in words."""
    spec = cluster.spec
    keep = {name: getattr(spec, f"backup_keep_{name}") for name in ("last", "daily", "weekly", "monthly")}
    kept = ", ".join(f"{name} {count}" for name, count in keep.items() if count) or "all of them"
    return "\n".join(
        [
            f"{cluster.name} takes backups by itself, on {nodes}:",
            f"  when        {calendar}, up to {spec.backup_schedule_jitter_seconds} s later",
            f"  into        {store_of(spec)}",
            f"  sealed for  {', '.join(spec.backup_recipients)}",
            f"  kept        {kept}",
        ]
    )


def _removal(nodes: str) -> str:
    return f"The inventory asks for no schedule. This takes it away from {nodes}; backups stay."
