"""Renewal schedule: the nodes renew their own leaves by a timer, or do so no longer."""

from cpkit.inventory import Cluster
from cpkit.node.calendar import zoned
from cpkit.operations.timer import Timer


def renewal_timer(cluster: Cluster, *, remove: bool) -> Timer:
    """A timer for every control-plane node, or none."""
    return Timer(
        operation="renewal-schedule",
        playbook="renewal_schedule.yml",
        calendar="" if remove else zoned(cluster.spec.renewal_at),
        plan=lambda nodes: _removal(nodes) if remove else describe(cluster, nodes),
        step="Take the timers away" if remove else "Set the timers",
        variables={"renewal_schedule_state": "absent"} if remove else {},
    )


def describe(cluster: Cluster, nodes: str) -> str:
    """The plan in words."""
    spec = cluster.spec
    when = f"{zoned(spec.renewal_at)}, each node at a time of its own within {spec.renewal_jitter_seconds} s"
    return "\n".join(
        [
            f"{cluster.name} renews its leaves by itself, on {nodes}:",
            f"  when   {when}",
            "  what   leaves that end within 90 days, or in the last third of a shorter life",
            "  how    one node at a time, without a restart; new leaves that are not in use are taken back",
        ]
    )


def _removal(nodes: str) -> str:
    return f"This takes the timers away that renew leaves on {nodes}; the leaves stay as they are."
