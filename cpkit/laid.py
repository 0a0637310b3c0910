"""Whether files already lie on a node as they should, by what an earlier look at the node has told; pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

Entry = Mapping[str, Any]  # path, mode and content, and perhaps owner and group, or path and link; as for cpkit_files
# By path: mode, owner, group and primary, with sha256 of a file; or only link, where that leads.
Seen = Mapping[str, Mapping[str, Any]]


def lie_as_wanted(files: Iterable[Entry], directories: Iterable[Entry], seen: Seen) -> bool:
    """Whether every file and directory is there with its content, mode and owner, and every link leads there."""
    return all(_file_fits(entry, seen.get(entry["path"], {})) for entry in files) and all(
        not {"sha256", "link"} & seen.get(entry["path"], {}).keys() and _owned(entry, seen.get(entry["path"], {}))
        for entry in directories
    )


def _file_fits(entry: Entry, there: Mapping[str, Any]) -> bool:
    if "link" in entry:
        return bool(there.get("link") == entry["link"])
    if "content" not in entry or "sha256" not in there:
        return False
    return hashlib.sha256(str(entry["content"]).encode()).hexdigest() == there["sha256"] and _owned(entry, there)


def _owned(entry: Entry, there: Mapping[str, Any]) -> bool:
    if not there:
        return False
    group = there["group"] == entry["group"] if entry.get("group") else bool(there["primary"])
    return group and there["owner"] == (entry.get("owner") or "root") and there["mode"] == int(str(entry["mode"]), 8)
