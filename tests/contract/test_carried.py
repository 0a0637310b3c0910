"""Modules as they are sent to nodes: arguments are taken and refused as Ansible does, and every way to end is told."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from cpkit import carried
from cpkit.paths import ansible_root

PLUGINS = ansible_root() / "playbooks" / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("cpkit_*.py"))
SPECIFICATION: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["here", "gone"], "default": "here"},
    "times": {"type": "int", "default": 3},
    "check": {"type": "bool", "default": False},
    "paths": {"type": "list", "elements": "str", "default": []},
    "words": {"type": "list", "elements": "list", "default": []},
    "whole": {"type": "dict", "default": {}},
    "unsaid": {"type": "str"},
    "sets": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"unit": {"type": "str", "default": ""}, "wait": {"type": "int", "default": 60}},
    },
}


@pytest.fixture
def basic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What modules find in the place of Ansible's own."""
    given = ModuleType("cpkit_given")
    given.__dict__.update(ARGUMENTS="{}", CHECK=False, DIFF=False, ANSWER=carried.ANSWER)
    monkeypatch.setitem(sys.modules, "cpkit_given", given)
    monkeypatch.delitem(sys.modules, "cpkit.carried_basic", raising=False)
    return importlib.import_module("cpkit.carried_basic")


@pytest.mark.parametrize(
    "given",
    [
        {"name": "one"},
        {"name": 7, "times": "12", "check": "yes"},
        {"name": "one", "check": 0, "times": 0},
        {"name": "one", "paths": ["/a", 7], "words": [["systemctl", "stop"]], "whole": {"any": {"thing": [1]}}},
        {"name": "one", "sets": [{"unit": "etcd.service"}, {"wait": "5"}, {}]},
        {"name": None},
        {},
        {"name": "one", "state": "elsewhere"},
        {"name": "one", "times": "many"},
        {"name": "one", "times": [1]},
        {"name": "one", "check": "perhaps"},
        {"name": "one", "whole": 7},
        {"name": "one", "unheard": True},
        {"name": "one", "sets": [{"unheard": 1}]},
        {"name": "one", "sets": [7]},
    ],
    ids=str,
)
def test_arguments_are_what_ansible_would_make_of_them(basic: ModuleType, given: dict[str, Any]) -> None:
    theirs = ArgumentSpecValidator(SPECIFICATION).validate(given)
    if theirs.error_messages:
        with pytest.raises(ValueError, match=r"\w"):
            basic._filled(SPECIFICATION, given)
    else:
        assert basic._filled(SPECIFICATION, given) == theirs.validated_parameters


@pytest.mark.parametrize("name", MODULES)
def test_each_module_is_carried_and_needs_nothing_of_ansible(name: str) -> None:
    assert "CarryingAction" in (PLUGINS / "action" / f"{name}.py").read_text()
    text = carried.program(name, {"unheard": "of"}, check=True, diff=False)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-IS", "-"], input=text, capture_output=True, text=True, check=False, timeout=30
    )
    told = carried.answer(name, done.returncode, done.stdout, done.stderr)
    assert (told["failed"], told["msg"]) == (True, "Unsupported parameters: unheard")


def test_only_the_answer_is_taken_for_one_whatever_else_was_said() -> None:
    said = f'Welcome to cp1!\n{carried.ANSWER}{{"changed": true, "paths": ["/a {carried.ANSWER}"]}}\nlast words\n'
    assert carried.answer("cpkit_files", 0, said, "") == {"changed": True, "paths": [f"/a {carried.ANSWER}"]}


@pytest.mark.parametrize(
    ("said", "complained", "told"),
    [
        ("", "Traceback (most recent call last):\n  ...\nOSError: the disk is gone\n", "1: OSError: the disk is gone"),
        ("/bin/sh: python3: not found\n", "", "1: /bin/sh: python3: not found"),
        ("", "", "1: it said nothing"),
    ],
)
def test_one_that_dies_has_failed_with_what_it_said_last(said: str, complained: str, told: str) -> None:
    failed = carried.answer("cpkit_files", 1, said, complained)
    assert failed["failed"]
    assert failed["msg"] == f"cpkit_files ended with {told}"


def test_what_modules_find_runs_on_the_oldest_python_of_nodes() -> None:
    import ast

    own = [*(PLUGINS / "modules").glob("cpkit_*.py"), *(PLUGINS / "module_utils").glob("cpkit_*.py")]
    for path in (Path(carried.__file__).with_name("carried_basic.py"), *own):
        ast.parse(path.read_text(), feature_version=(3, 9))
