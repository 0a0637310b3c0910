"""Leaves are laid down on the node as role leaves does it, with the same modules: kept aside first, all at once."""

from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils import cpkit_kept
from ansible.module_utils.cpkit_files import Plan

from cpkit.facts.agent.certificates import KEPT


def aside() -> bool:
    """Whether leaves that were replaced still lie aside, of a run that was cut off."""
    return Path(KEPT).is_dir()


def lay_down(files: Mapping[str, str]) -> None:
    """Keep what there is aside, and lay the new files down with its owners and modes."""
    cpkit_kept.keep(list(files), KEPT)
    kept = (each for each in cpkit_kept.kept(KEPT) if each["path"] in files)
    Plan([each | {"content": files[each["path"]]} for each in kept], []).apply()


def put_back() -> bool:
    """Lay what is kept aside down again; whether there was anything."""
    paths = cpkit_kept.restore(KEPT)
    return cpkit_kept.forget(KEPT) or bool(paths)


def let_go() -> None:
    """Forget what is kept aside."""
    cpkit_kept.forget(KEPT)
