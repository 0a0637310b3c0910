"""A database of a real etcd, damaged page by page: what cannot be a whole tree is never taken for one."""

import random
import struct
from collections.abc import Callable

import pytest

from cpkit.backup.bolt import Follower
from cpkit.backup.bolt_format import BRANCH_PAGE, HEADER, LEAF_PAGE
from cpkit.backup.database import Database, judge
from cpkit.backup.errors import DamagedDatabase
from cpkit.etcd import MemberClient

PAGE = 4096


@pytest.fixture(scope="module")
def sound(client: MemberClient) -> bytes:
    for number in range(400):
        client.etcd3.put(f"/registry/secrets/default/{number}", "x" * 700)
    client.etcd3.put("/registry/secrets/default/large", "x" * 20_000)
    client.defragment(timeout=20)  # then every page but a few is a part of the tree
    return b"".join(client.snapshot(timeout=20))[:-32]


def read(data: bytes, step: int = 30_000) -> Database:
    follower = Follower()
    for begin in range(0, len(data), step):
        follower.feed(data[begin : begin + step])
    return judge(follower)


def pages(data: bytes, kind: int) -> list[int]:
    headers = (HEADER.unpack_from(data, number * PAGE) for number in range(len(data) // PAGE))
    return [
        number for number, (page, flags, count, _) in enumerate(headers) if (page, flags) == (number, kind) and count
    ]


def busiest(data: bytes, kind: int) -> int:
    """The page of a kind with the most elements: the tree of keys has it."""
    return max(pages(data, kind), key=lambda number: int(HEADER.unpack_from(data, number * PAGE)[2]))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def child_at(data: bytes, index: int) -> int:
    """Where the busiest branch page names one of its children."""
    return busiest(data, BRANCH_PAGE) * PAGE + HEADER.size + index * 16 + 8


def child(data: bytes, index: int) -> int:
    return int(struct.unpack_from("<Q", data, child_at(data, index))[0])


def leaf(data: bytes) -> int:
    """Where a leaf page of the tree of keys begins."""
    return child(data, 3) * PAGE


def test_the_size_of_the_pieces_does_not_matter(sound: bytes) -> None:
    whole = read(sound, len(sound))
    assert whole.key_revisions == 401
    for step in (1 << 18, PAGE, 4095, 333):
        assert read(sound, step) == whole


def test_one_sound_meta_page_is_enough(sound: bytes) -> None:
    whole = read(sound)
    for page in (0, 1):
        assert read(patched(sound, page * PAGE + HEADER.size + 20, b"\xff")) == whole
    with pytest.raises(DamagedDatabase, match="neither of the database's two meta pages"):
        read(patched(patched(sound, HEADER.size + 20, b"\xff"), PAGE + HEADER.size + 20, b"\xff"))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a page is gone": lambda data: data[:-PAGE],
    "a page too many": lambda data: data + bytes(PAGE),
    "it ends within a page": lambda data: data[:-100],
    "it is empty": lambda _: b"",
    "it is something else": lambda data: b"#!/bin/sh\n" * (len(data) // 10),
    "it is zeros": lambda data: bytes(len(data)),
    "a child beyond the end": lambda data: patched(data, child_at(data, 2), struct.pack("<Q", len(data) // PAGE)),
    "a child far beyond the end": lambda data: patched(data, child_at(data, 2), b"\xff" * 8),
    "a child that is a meta page": lambda data: patched(data, child_at(data, 2), struct.pack("<Q", 1)),
    "the same child twice": lambda data: patched(data, child_at(data, 2), struct.pack("<Q", child(data, 3))),
    "a child that is its parent": lambda data: patched(
        data, child_at(data, 2), struct.pack("<Q", busiest(data, BRANCH_PAGE))
    ),
    "a leaf of another number": lambda data: patched(data, leaf(data), b"\xee"),
    "a leaf of another kind": lambda data: patched(data, leaf(data) + 8, b"\x10"),
    "a leaf with more elements": lambda data: patched(data, leaf(data) + 10, b"\x40"),
    "a leaf with more elements than fit": lambda data: patched(data, leaf(data) + 10, b"\xff\xff"),
    "a leaf that swallows what follows": lambda data: patched(data, leaf(data) + 12, b"\x09"),
    "an element elsewhere": lambda data: patched(data, leaf(data) + HEADER.size + 4, b"\x01"),
    "a longer key": lambda data: patched(data, leaf(data) + HEADER.size + 8, b"\x7f"),
    "a longer value": lambda data: patched(data, leaf(data) + HEADER.size + 12, b"\x01\x02"),
    "a branch without elements": lambda data: patched(data, busiest(data, BRANCH_PAGE) * PAGE + 10, bytes(2)),
    "no bucket of keys": lambda data: data.replace(b"key" + data[data.index(b"key") + 3 :][:1], b"kex\x00"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_no_whole_tree_is_refused(sound: bytes, kind: str) -> None:
    damaged = DAMAGE[kind](sound)
    assert damaged != sound
    for step in (30_000, len(damaged) or 1):
        with pytest.raises(DamagedDatabase) as caught:
            read(damaged, step)
        assert len(caught.value.message) > 15


def test_whatever_is_flipped_it_ends_in_facts_or_in_words(sound: bytes) -> None:
    """Values may be anything; that none of them was changed is what the SHA-256 is for."""
    chance = random.Random(7)  # noqa: S311
    places = [page * PAGE + offset for page in range(len(sound) // PAGE) for offset in range(64)]
    refused = 0
    for place in chance.sample(places, 400):
        try:
            read(patched(sound, place, bytes([sound[place] ^ 1 << chance.randrange(8)])))
        except DamagedDatabase:
            refused += 1
    assert refused > 100


def test_there_are_leaves_and_branches_to_damage(sound: bytes) -> None:
    assert len(pages(sound, LEAF_PAGE)) > 50
    assert pages(sound, BRANCH_PAGE)
