"""Nodes written into a hosts file and taken out of it: whole lines, so that comments and all else stay as they are."""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cpkit.errors import UsageError
from cpkit.inventory.cluster import Cluster
from cpkit.inventory.document import Document, Route, read
from cpkit.inventory.loading import load
from cpkit.inventory.problems import InvalidInventory, Problems
from cpkit.inventory.writing import put

GROUP = "control_plane"
PLAIN = re.compile(r"^(?P<head>\s*[^:]+:\s*\{\s*ansible_host:\s*)(?P<address>[0-9.]+)(?P<tail>\s*\}.*)$")


def with_nodes(hosts: Path, nodes: dict[str, str]) -> tuple[str, Cluster]:
    """The text of a hosts file with more control-plane nodes, and the cluster that it describes."""
    text = hosts.read_text()
    for name, address in nodes.items():
        lines, routes = text.splitlines(keepends=True), _document(hosts, text)
        last = _span(routes, _hosts(routes)[-1], lines)
        first = lines[last.start]
        indent = first[: len(first) - len(first.lstrip())]
        head = "" if lines[last.stop - 1].endswith("\n") else "\n"
        lines.insert(last.stop, f"{head}{indent}{name}: {{ansible_host: {address}}}\n")
        text = "".join(lines)
    return text, drafted(hosts, text)


def with_address(hosts: Path, name: str, address: str) -> tuple[str, Cluster]:
    """The text of a hosts file with another address of a node, and the cluster that it describes."""
    text = hosts.read_text()
    lines, routes = text.splitlines(keepends=True), _document(hosts, text)
    span = _span(routes, _host(routes, name), lines)
    found = PLAIN.match(lines[span.start].rstrip("\n"))
    if not found or len(span) > 1:
        raise UsageError(
            f"the line of {name} in {hosts} holds more than its address, and is yours to change",
            hint=f"Write the new address there, then: cpkit node replace {name}",
        )
    lines[span.start] = f"{found['head']}{address}{found['tail']}\n"
    changed = "".join(lines)
    return changed, drafted(hosts, changed)


def without_nodes(hosts: Path, names: frozenset[str]) -> str:
    """The text of a hosts file without some of its nodes."""
    text = hosts.read_text()
    for name in sorted(names):
        lines, routes = text.splitlines(keepends=True), _document(hosts, text)
        span = _span(routes, _host(routes, name), lines)
        del lines[span.start : span.stop]
        text = "".join(lines)
    drafted(hosts, text)
    return text


def drafted(hosts: Path, text: str) -> Cluster:
    """The cluster that a text would describe in the place of a hosts file; UsageError when it makes none."""
    draft = hosts.with_name(f".{hosts.name}.draft")
    try:
        put(draft, text, like=hosts)
        return replace(load(draft), inventory=hosts)
    except InvalidInventory as error:
        lines = "".join(f"\n  {told}" for told in dict.fromkeys(problem.text for problem in error.problems))
        raise UsageError(f"the inventory would make no sound cluster:{lines}", hint="Nothing was changed.") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def write(hosts: Path, text: str) -> Cluster:
    """Put a text in the place of a hosts file, whole or not at all."""
    put(hosts, text, like=hosts)
    return load(hosts)


def _document(hosts: Path, text: str) -> Document:
    draft = hosts.with_name(f".{hosts.name}.lines")
    try:
        put(draft, text, like=hosts)
        return read(draft, Problems(hosts))
    finally:
        with suppress(OSError):
            draft.unlink()


def _hosts(document: Document) -> list[Route]:
    """Where the hosts of the control plane are written, in the order of their lines."""
    routes = [route for route in document.lines if len(route) > 2 and route[-3:-1] == (GROUP, "hosts")]
    if not routes:
        raise _yours(document)
    return sorted(routes, key=lambda route: document.lines[route])


def _host(document: Document, name: str) -> Route:
    found = [route for route in _hosts(document) if route[-1] == name]
    if len(found) != 1:
        raise _yours(document)
    return found[0]


def _span(document: Document, route: Route, lines: list[str]) -> range:
    """The lines of a host: its own, and those below it that are indented further."""
    start = document.lines[route] - 1
    own = _indent(lines[start])
    if lines[start].lstrip().startswith(("{", "hosts", GROUP)) or f"{route[-1]}" not in lines[start].partition(":")[0]:
        raise _yours(document)  # several hosts on one line
    stop = start + 1
    while stop < len(lines) and lines[stop].strip() and _indent(lines[stop]) > own:
        stop += 1
    return range(start, stop)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _yours(document: Document) -> UsageError:
    return UsageError(
        f"the hosts of {GROUP} are not written one a line in {document.file.parent}, so they are yours to change",
        hint="Write each as `NAME: {ansible_host: ADDRESS}` below `control_plane:` and `hosts:`.",
    )
