"""What etcd's database says of itself: read from its own pages, not from what a member told."""

from dataclasses import dataclass

from cpkit.backup.bolt import Follower, Tree
from cpkit.backup.errors import DamagedDatabase

EXPECTED = ("cluster", "key", "members", "meta")  # buckets that every database of etcd has


@dataclass(frozen=True)
class Database:
    """The facts of a database, and that its pages make up a whole tree."""

    revision: int
    compacted: int  # the history before this revision is gone
    key_revisions: int  # every revision of every key that is still there, deletions too
    consistent_index: int
    term: int
    storage_version: str  # empty before etcd 3.6
    pages: int
    page_size: int


def judge(follower: Follower) -> Database:
    """The facts of a database that has passed by; DamagedDatabase when it is not whole or not etcd's."""
    tree = follower.finish()
    missing = [name for name in EXPECTED if name not in tree.buckets]
    if missing:
        raise DamagedDatabase(f"the database lacks what every etcd has: the bucket {missing[0]}")
    meta, keys = tree.buckets["meta"].items, tree.buckets["key"]
    if b"consistent_index" not in meta:
        raise DamagedDatabase("the database lacks what every etcd has: its consistent index")
    compacted = _number(tree, b"finishedCompactRev")
    # Compaction may take the newest revisions away, if they are deletions; the revision goes on from there.
    scheduled = _number(tree, b"scheduledCompactRev")
    return Database(
        revision=max(1, keys.last, compacted, scheduled),
        compacted=compacted,
        key_revisions=keys.keys,
        consistent_index=_number(tree, b"consistent_index"),
        term=_number(tree, b"term"),
        storage_version=meta.get(b"storageVersion", b"").decode("utf-8", "replace"),
        pages=tree.pages,
        page_size=tree.page_size,
    )


def _number(tree: Tree, name: bytes) -> int:
    return int.from_bytes(tree.buckets["meta"].items.get(name, b"")[:8], "big")
