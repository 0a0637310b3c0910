"""How `cpkit upgrade` runs a change and says how it ended."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cpkit.cli.changing import cluster_and_password, confirming, meanwhile, result
from cpkit.cli.options import Output
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from cpkit.backup import Sealing
    from cpkit.inventory import Cluster
    from cpkit.operations.pausing import Pausing
    from cpkit.operations.upgrade import Options, Result
    from cpkit.ui.run import JsonView, TextView


def run(inventory: str, options: "Options", output: Output, *, ask: bool, yes: bool) -> None:
    """Do what the options say, and print how it ended."""
    from cpkit.operations.upgrade import upgrade
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask)
    wanted = not options.no_backup and not options.dry_run and bool(cluster.spec.backup_store)
    options = replace(options, sealing=_sealing(cluster) if wanted else None, become_password=password)
    view = _view(output)
    try:
        done = upgrade(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    text = _summary(inventory, cluster, options, done)
    turns = [str(turn) for turn in done.turns]
    fields = {"turns": turns, "availability": done.availability, "backup": done.backup, "written": done.written}
    result(output, text, target=done.plan.target.variables(), **fields, directory=done.directory)


def planned(options: "Options", saved: Path | None) -> "Options":
    """What a saved plan says instead of options; UsageError when both are given."""
    from cpkit.upgrade import read_saved

    if saved is None:
        return options
    if options.to or options.etcd or options.only or options.rollback_safe:
        raise UsageError(
            "the saved plan says where it leads", hint="Leave --to, --etcd, --only and --rollback-safe out."
        )
    try:
        plan = read_saved(saved.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{saved} cannot be read: {error}") from error
    only = frozenset(plan.only)
    return replace(options, to=plan.to, etcd=plan.etcd, only=only, rollback_safe=plan.rollback_safe, saved=plan)


def pausing(between: str, max_failed: int | None) -> "Pausing":
    """What the user wants between two nodes; UsageError when nobody is there to be asked."""
    from cpkit.operations.pausing import Pausing

    if between in {"", "ask"}:
        if between and not sys.stdin.isatty():
            raise UsageError("nobody is there to be asked", hint="Give seconds to wait, as in --pause-between 30")
        return Pausing(0.0 if between else None, max_failed)
    try:
        seconds = float(between)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--pause-between takes ask or a number of seconds, not {between!r}")
    return Pausing(seconds, max_failed)


def _view(output: Output) -> "TextView | JsonView":
    from cpkit.cli.fetching import listener
    from cpkit.ui.run import JsonView, TextView

    return JsonView() if output is Output.JSON else TextView(listener())


def _sealing(cluster: "Cluster") -> "Sealing":
    from cpkit.cli.backup_options import Seal, sealing

    return sealing(cluster.spec.backup_recipients, Seal())


def _summary(inventory: str, cluster: "Cluster", options: "Options", done: "Result") -> str:
    from cpkit.inventory import load
    from cpkit.operations.upgrade import describe, needed
    from cpkit.runs import PAGE

    target = done.plan.target
    if options.dry_run and done.plan.todo:
        return f"{describe(done.plan)}\n\nDry run: nothing was changed.\nThe same without cpkit: {done.command}"
    lines = [f"{_told(cluster.name, each)}\nAPI meanwhile: {each.availability}" for each in done.earlier]
    lines.append(f"{cluster.name} runs {target}." if not done.plan.todo else _told(cluster.name, done))
    if done.availability:
        lines += meanwhile(done.availability, done.terms)
    if done.backup:
        lines.append(f"Backup: {done.backup}")
    if done.written:
        lines.append(f"The inventory asks for it now: {done.written}")
    elif wanted := needed(load(cluster.inventory), target):
        lines.append("Once all nodes have it, set in the inventory, so that it asks for what runs:")
        lines += [f'  {name}: "{value}"' for name, value in wanted.items()]
    if done.plan.left:
        again = f"cpkit upgrade rolling -i {inventory} --to {target.kubernetes}"
        lines.append(f"Left for another run: {', '.join(done.plan.left)}. Go on with: {again}")
    lines += _next(inventory, done)
    if done.directory:
        lines += [f"Run directory: {done.directory}", f"Report: {done.directory / PAGE}"]
    return "\n".join(lines)


def _next(inventory: str, done: "Result") -> list[str]:
    """What remains to be decided, or may be done now."""
    from cpkit.versions import version_table

    target = done.plan.target
    if target.emulates and not done.plan.left:
        return [
            f"It behaves like {target.emulates} until you end the upgrade: cpkit upgrade finalize -i {inventory}",
            f"Until then all of it can be taken back: cpkit upgrade rollback -i {inventory}",
        ]
    goes_with = version_table().minor(target.kubernetes).etcd
    if target.verb == "Finalize" and target.etcd.minor < goes_with.minor:
        return [
            f"etcd is still {target.etcd}; to its next minor: cpkit upgrade rolling -i {inventory} --etcd {goes_with}"
        ]
    return []


def _told(cluster: str, done: "Result") -> str:
    from cpkit.health.quorum import plural

    count = len({turn.node for turn in done.turns})
    work = f"{count} {plural('node', count)}, {len(done.turns)} {plural('turn', len(done.turns))}"
    return f"\n{cluster}: {done.plan.target} on {work}, {done.seconds:.1f} s."
