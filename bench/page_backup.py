"""The part of docs/benchmarks.md that tells of backups, from the numbers alone."""

from bench.model import spread
from bench.model_backup import DRILL_BOUND, MEMORY_BOUND, RATIO_BOUND, RESTORE_BOUND, Backups
from bench.page import SAME_MACHINE, bound, table

TITLE = "Backups and restores"
HEAD = (
    "A database of 200,000 values of a kilobyte. `etcdctl snapshot save` writes a file on the node itself, neither "
    "sealed nor checked, and scp copies it to where cpkit stores; cpkit reads through SSH, checks every page, seals, "
    "stores, and reads back what was stored after that. Its throughput is that of the stream into the store. "
    "The restore is timed from the proof of the backup, until the API servers are ready and, as a command, until the "
    "cluster is found healthy. Loads are those of the machine, its runnable processes over the "
    "minute before."
)


def section(found: Backups) -> str:
    """All of it, below its heading."""
    turns, restores = found.turns, found.restores
    ratios = [turn.ratio for turn in turns]
    drills, ready = [turn.drill_seconds for turn in turns], [each.ready_seconds for each in restores]
    memory = max([turn.peak_mb for turn in turns])
    rows = [
        ("database", f"{max(turn.size_mb for turn in turns):.0f} MB", ""),
        ("`etcdctl snapshot save` on the node", f"{spread([t.etcdctl_mb_per_second for t in turns])} MB/s", ""),
        ("the same, and scp to here", f"{spread([t.fetched_mb_per_second for t in turns])} MB/s", ""),
        ("`cpkit backup etcd`, into the store", f"{spread([t.cpkit_mb_per_second for t in turns])} MB/s", ""),
        ("of etcdctl's on the node", spread(ratios, 2), bound(min(ratios), RATIO_BOUND, "of etcdctl's", least=True)),
        ("of etcdctl's with scp", spread([t.fetched_ratio for t in turns], 2), ""),
        ("`cpkit backup etcd`, the whole command", f"{spread([t.command_seconds for t in turns])} s", ""),
        ("memory of cpkit, backup", f"{memory:.0f} MB", bound(memory, MEMORY_BOUND, "MB")),
        ("`cpkit backup verify`", f"{spread([t.verify_seconds for t in turns])} s", ""),
        ("memory of cpkit, verify", f"{max(t.verify_peak_mb for t in turns):.0f} MB", ""),
        ("drill, to an API that serves", f"{spread(drills)} s", bound(max(drills), DRILL_BOUND, "s")),
        ("drill, the whole command", f"{spread([t.drill_command_seconds for t in turns])} s", ""),
        ("restore of 3 members, to a ready API", f"{spread(ready)} s", bound(max(ready), RESTORE_BOUND, "s")),
        ("restore of 3 members, the whole command", f"{spread([each.seconds for each in restores])} s", ""),
        ("memory of cpkit, restore", f"{max(each.peak_mb for each in restores):.0f} MB", ""),
    ]
    loads = spread([load for t in turns for load in (t.etcdctl_load, t.cpkit_load, t.drill_load)])
    busy = f"Load before backups and drills: {loads}; before restores: {spread([each.load for each in restores])}."
    steps = [(name, spread([each.steps.get(name, 0.0) for each in restores])) for name in restores[0].steps]
    parts = (
        table(TITLE, ("what", "measured", "bound"), rows),
        f"{HEAD} {SAME_MACHINE}\n\nMeasured {found.date}. {busy}\n",
        table("Where a restore's time goes", ("step", "seconds"), steps),
    )
    return "\n".join(parts)


def replaced(text: str, part: str) -> str:
    """A page with this part in the place of the one it had, or at its end."""
    return f"{without(text).rstrip()}\n\n{part.rstrip()}\n"


def kept(text: str) -> str:
    """The part as a page has it; empty when it has none."""
    return text[len(without(text)) :].lstrip()


def without(text: str) -> str:
    """A page without this part, which is its last."""
    return text.partition(f"## {TITLE}\n")[0]
