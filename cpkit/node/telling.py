"""What a program on a node leaves for `cpkit health` and for Prometheus; each file is whole at any time."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = tuple[str, Mapping[str, str], float]  # metric, labels, value


def replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file that nobody ever sees half of."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def leave(state: Path, status: bytes, metrics: Path | None, text: str) -> None:
    """A status as a file of root's own, and metrics where a node exporter reads them."""
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(state, status, 0o600)
    if metrics:
        metrics.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace(metrics, text.encode(), 0o644)


def exposition(cluster: str, node: str, rows: Iterable[Row], told: Mapping[str, str]) -> str:
    """The text that a node exporter's textfile collector reads; `told` says of each metric what it is."""
    found: dict[str, list[str]] = {}
    for name, labels, value in rows:
        inside = {"cluster": cluster, "node": node, **labels}
        text = ",".join(f'{key}="{each}"' for key, each in inside.items())
        found.setdefault(name, []).append(f"{name}{{{text}}} {value:.17g}")
    lines: list[str] = []
    for name, texts in found.items():
        lines += [f"# HELP {name} {told[name]}", f"# TYPE {name} gauge", *texts]
    return "\n".join(lines) + "\n" if lines else ""
