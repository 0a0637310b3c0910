"""docs/benchmarks.md from the numbers alone."""

from collections.abc import Iterable, Sequence
from statistics import median

from bench.model import HEALTH_BOUND, MEMORY_BOUND, MULTIPLE_BOUND, SECOND_RUN_BOUND, TIMES, Results, Round, spread

HEALTH_NODES = 3  # the size the bound is given for
HEAD = (
    "# Benchmarks\n\n"
    "Written by `python -m bench --write` (`make bench` prints the same without writing), what it says of backups by "
    "`python -m bench --backup --write`. "
    "Times are seconds as medians, with the smallest and largest of the rounds in brackets.\n\n"
    "**The floor** is what the machine needs at the least: the same binaries and the same units and configuration "
    "files, unpacked on all nodes in parallel over SSH by a script (`bench/floor.py`) without Ansible, without any "
    "check and without verifying a checksum, each unit started without waiting for it. Its clock runs from the first "
    "key until every API server is ready, the controller manager's and the scheduler's leases are held, and `/readyz` "
    "answers through the VIP. `cpkit bootstrap --yes` is timed as a command, from start to exit, on equally fresh "
    "machines; right after it, the floor's own condition is asked for. Which of the two comes first alternates "
    "between rounds.\n"
)
SAME_MACHINE = (
    "Everything runs on this one machine: the nodes are containers that share its cores, its disk and its memory with "
    "cpkit and Ansible, so whatever either side does is paid for on the same cores."
)
WHAT_IS_ASKED = (
    "Memory is the peak of a single process. Health reads everything its page shows: members, leases, certificates, "
    "disks and balancers; etcdctl asks the members alone."
)


def page(results: Results) -> str:
    """The whole page."""
    parts = [HEAD, "![Floor and bootstrap](benchmarks.svg)\n", _bring_up(results), _others(results), _stages(results)]
    return "\n".join([*parts, _setting(results)])


def _bring_up(results: Results) -> str:
    rows = []
    for nodes in results.sizes:
        rounds = results.of(nodes)
        rows.append(
            (
                f"{nodes} + 2 balancers, {len(rounds)} rounds",
                spread([one.floor.seconds for one in rounds]),
                spread([one.bootstrap.seconds for one in rounds]),
                f"**{spread([one.multiple for one in rounds], 2)}{TIMES}**",
                spread([one.second.seconds for one in rounds]),
                ", ".join(sorted({str(one.second.changed) for one in rounds})),
            )
        )
    head = ("control plane", "floor", "bootstrap", "multiple", "second run", "changes in it")
    return table("Bring-up", head, rows)


def _others(results: Results) -> str:
    rows = []
    for nodes in results.sizes:
        rounds = results.of(nodes)
        health = [value for one in rounds for value in one.health]
        etcdctl = [value for one in rounds for value in one.etcdctl]
        rows.append((f"`cpkit health`, {nodes} nodes", f"{spread(health, 2)} s", bound(max(health), HEALTH_BOUND, "s")))
        rows.append((f"`etcdctl endpoint health --cluster` over ssh, {nodes} nodes", f"{spread(etcdctl, 2)} s", ""))
    every = results.rounds
    memory = [one.bootstrap.cpkit_mb for one in every]
    rows += [
        ("`cpkit --version`", f"{spread(results.start.seconds, 2)} s", ""),
        ("memory of cpkit, bootstrap", f"{max(memory):.0f} MB", bound(max(memory), MEMORY_BOUND, "MB")),
        ("memory of cpkit, health", f"{max(one.health_mb for one in every):.0f} MB", ""),
        ("memory of Ansible, largest process", f"{max(one.bootstrap.ansible_mb for one in every):.0f} MB", ""),
        ("multiple of the floor", _worst(every), bound(max(one.multiple for one in every), MULTIPLE_BOUND, TIMES)),
        ("second run", f"{_slowest(every):.1f} s at most", bound(_slowest(every), SECOND_RUN_BOUND, "s")),
    ]
    return table("Other numbers", ("what", "measured", "bound"), rows) + f"\n{WHAT_IS_ASKED}\n"


def _stages(results: Results) -> str:
    rows: list[Sequence[str]] = []
    sizes = results.sizes
    first = results.of(sizes[0])[0].bootstrap
    for step in first.steps:
        rows.append((step, *(spread([one.bootstrap.steps[step] for one in results.of(nodes)]) for nodes in sizes)))
        if step == "Run the roles":
            for role in first.roles:
                spent = ([one.bootstrap.roles.get(role, 0.0) for one in results.of(nodes)] for nodes in sizes)
                rows.append((f"&nbsp;&nbsp;{role}", *(spread(values) for values in spent)))
    points = {"laid down": "laid_down", "API servers ready": "api_ready", "leases held": "leases_held"}
    for name, field in points.items():
        seconds = ([getattr(one.floor, field) for one in results.of(nodes)] for nodes in sizes)
        rows.append((f"floor: {name} after", *(spread(values) for values in seconds)))
    return table("Where the time goes", ("stage", *(f"{nodes} nodes" for nodes in sizes)), rows)


def _setting(results: Results) -> str:
    lines = [f"- {key}: {value}" for key, value in {**results.machine, **results.versions}.items()]
    ready = max(one.bootstrap.ready_after for one in results.rounds)
    held = f"After every bootstrap the floor's condition was seen to hold within {ready:.1f} s of asking."
    return "\n".join(["## The machine\n", f"Measured {results.date}.\n", *lines, f"\n{SAME_MACHINE} {held}\n"])


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table below its heading."""
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([f"## {title}\n", *lines, ""])


def bound(value: float, limit: float, unit: str, *, least: bool = False) -> str:
    """The bound, and whether a value keeps to it."""
    sign, met = ("≥", value >= limit) if least else ("≤", value <= limit)
    return f"{'' if met else '**not met:** '}{sign} {limit:g} {unit}"


def _worst(rounds: Sequence[Round]) -> str:
    values = [one.multiple for one in rounds]
    return f"{median(values):.2f}{TIMES}, {max(values):.2f}{TIMES} at worst"


def _slowest(rounds: Sequence[Round]) -> float:
    return max(one.second.seconds for one in rounds)
