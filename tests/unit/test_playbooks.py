"""What playbooks and roles name is there: Ansible takes a role without tasks for one that has nothing to do."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from cpkit.paths import ansible_root

ROOT = ansible_root()
INCLUDES = ("ansible.builtin.import_role", "ansible.builtin.include_role")
FILES = sorted([*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")])


@cache
def parsed(path: Path) -> Any:
    # Safe as well; libyaml's parser, where there is one, is many times as fast.
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def named(node: Any) -> Iterator[tuple[str, str]]:
    """The roles that a play or task uses, each with the file of its tasks."""
    if isinstance(node, list):
        for each in node:
            yield from named(each)
    elif isinstance(node, dict):
        for role in node.get("roles") or []:
            yield (role if isinstance(role, str) else role["role"]), "main"
        for key in INCLUDES:
            if key in node:
                yield node[key]["name"], node[key].get("tasks_from", "main")
        for each in node.values():
            yield from named(each)


def test_every_role_that_is_named_has_the_tasks_that_are_meant() -> None:
    for path in FILES:
        for role, tasks in named(parsed(path)):
            where = f"{path.relative_to(ROOT)} names {role}: {tasks}"
            assert (ROOT / "roles" / role / "tasks" / f"{tasks}.yml").is_file(), where


def test_every_playbook_that_is_named_is_there() -> None:
    for path in ROOT.glob("playbooks/*.yml"):
        for other in (play.get("ansible.builtin.import_playbook") for play in parsed(path) if isinstance(play, dict)):
            assert other is None or (path.parent / other).is_file(), f"{path.name}: {other}"
