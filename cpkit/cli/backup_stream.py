"""`cpkit backup stream`: follow a cluster, so that it can be brought back to any moment."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.backup_options import (
    IntoOption,
    Seal,
    location,
    sealing,
)
from cpkit.cli.changing import cluster_of, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.cli.unfolding import unfolded
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.backup.following import Where
    from cpkit.ui.run import JsonView, TextView

app = new_app()
TOLD = 1.0  # seconds between two words on how far it has come


@app.command(
    name="stream",
    epilog=examples(
        "cpkit backup stream -i prod",
        "cpkit backup stream -i prod --store /srv/backups -r age1…",
        "cpkit restore etcd -i prod --to-time 2031-05-06T07:08:09Z --identity ~/backup.key",
    ),
)
@unfolded
def stream(
    inventory: InventoryOption,
    *,
    to: IntoOption = "",
    seal: Seal,
    base_hours: Annotated[
        float, typer.Option("--base-hours", min=0.01, help="Take a new backup to go on from after so many hours.")
    ] = 24.0,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow a cluster: put every revision into the store within seconds, sealed, until Ctrl-C.

    It goes on from the newest backup in the store, or takes one first. Whatever ends it, the same command goes on
    where the store ends. `cpkit restore etcd --to-revision` and `--to-time` lead to any moment it saw.
    """
    from cpkit.operations.stream import Wanted
    from cpkit.operations.stream import stream as follow

    cluster = cluster_of(inventory, ask_become_pass)
    key = sealing(cluster.spec.backup_recipients, seal)
    wanted = Wanted(location(to, cluster.spec), key, base_hours)
    view = view_of(output)
    telling = _Telling(view, output)
    try:
        with _told_to_end(telling) as signals:
            ended = follow(cluster, wanted, view, stopping=lambda: bool(signals), tell=telling)
    finally:
        telling.end()
    text = f"\nFollowed up to revision {ended.revision}, all of it in the store"
    text += f": {ended.segments} segments after {ended.base}.\nThe same command goes on from there."
    result(output, text, **asdict(ended))
    if signal.SIGINT in signals:
        raise typer.Exit(Exit.INTERRUPTED)


class _Telling:
    """How far a stream has come: a living line in a terminal, or JSON lines."""

    def __init__(self, view: "TextView | JsonView", output: Output) -> None:
        self._view, self._json = view, output is Output.JSON
        self._last = 0.0
        self.began = False

    def __call__(self, where: "Where") -> None:
        now = time.monotonic()
        if now - self._last < TOLD:
            return
        self._last = now
        if not self.began:
            self.began = True
            self._view.begin("Follow the cluster; Ctrl-C ends it")
        if self._json:
            told: dict[str, Any] = {"event": "stream", **asdict(where)}
            self._view.event(told)
            return
        lag = f"{where.lag:.1f} s behind"
        stored = f"revision {where.stored} of {where.revision} stored"
        self._view.status(f"{where.node}: {stored}, {lag}, {where.segments} segments, {where.bytes / 1e6:.1f} MB")

    def end(self) -> None:
        """Give the terminal back."""
        self._view.pause()


@contextmanager
def _told_to_end(telling: _Telling) -> Iterator[list[int]]:
    """The signals that ask to end well; a second one, and one before anything was followed, interrupts."""
    signals: list[int] = []
    before: dict[int, Callable[..., Any] | int | None] = {}

    def note(number: int, _: object) -> None:
        if signals or not telling.began:
            raise KeyboardInterrupt
        signals.append(number)

    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, note)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
