"""Modules and what they import as the text of one program, which a node's Python reads from its standard input."""

from collections.abc import Mapping
from pathlib import Path

# What runs on the node. Only what is imported finds its source here; the standard library is Python's own.
LOADER = """
import sys

class Packed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return ModuleSpec(name, Packed, is_package=not SOURCES[name]) if name in SOURCES else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)

ModuleSpec = type(sys.__spec__)  # without importing importlib
sys.meta_path.insert(0, Packed)
"""


def packed(sources: Mapping[str, str], last: str, **values: object) -> str:
    """A program of modules by name, of which packages have no text; `last` is what it does, and finds the values."""
    given = {"SOURCES": dict(sources), **values}
    return "".join(f"{name} = {value!r}\n" for name, value in given.items()) + LOADER + last


def program(package: str) -> str:
    """The modules of a package as one program, which runs `main` of its `program`, and nothing of those around it."""
    parts = package.split(".")
    modules = sorted(Path(__file__).parents[1].joinpath(*parts).glob("[!_]*.py"))
    sources = {".".join(parts[:count]): "" for count in range(1, len(parts) + 1)}
    sources |= {f"{package}.{path.stem}": path.read_text(encoding="utf-8") for path in modules}
    return packed(sources, f"from {package}.program import main\nmain()\n")
