"""Follows a bbolt database as its pages pass by, and proves that they make up one whole tree.

A page is looked at once and forgotten: what stays is its kind, how many elements it holds, the last key if it is a
revision, and, where there are few, its children or its buckets. The pages arrive in the order of the file, and which
of them belong to the tree is known at the end only; so nothing is judged before `finish`.
"""

import heapq
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain

from cpkit.backup.bolt_format import (
    BRANCH,
    BRANCH_PAGE,
    BROKEN_PAGE,
    BUCKET,
    BUCKET_ELEMENT,
    HEADER,
    LEAF,
    LEAF_PAGE,
    META_PAGE,
    META_PAGES,
    PAGE_SIZE_AT,
    PAGE_SIZES,
    REMEMBERED,
    REVISION_BYTES,
    Items,
    Meta,
    elements,
    main_revision,
    read_meta,
)
from cpkit.backup.errors import DamagedDatabase


@dataclass(frozen=True)
class Bucket:
    """A bucket of the tree: how many keys, the last revision among them, and its contents if it is a small one."""

    keys: int
    last: int = 0
    items: Items = field(default_factory=dict)


@dataclass(frozen=True)
class Tree:
    """A whole database."""

    page_size: int
    pages: int
    transaction: int
    buckets: Mapping[str, Bucket]


class Follower:
    """Takes a database in chunks of any size; `finish` says what it holds, or raises DamagedDatabase."""

    def __init__(self) -> None:
        self._rest = b""
        self._page_size = 0
        self._metas: list[Meta] = []
        self._kinds = bytearray()
        self._counts = array("H")
        self._following = array("I")
        self._last = array("Q")
        self._children: dict[int, array[int]] = {}
        self._buckets: dict[int, list[tuple[str, bytes]]] = {}
        self._items: dict[int, Items] = {}
        self._awaited: list[tuple[int, int, int, bytes]] = []  # where a key goes on, bytes missing, page, key so far

    def feed(self, data: bytes) -> None:
        """The next part of the database."""
        block = self._rest + data if self._rest else data
        size = self._page_size or self._measure(block)
        if not size:
            self._rest = block
            return
        end = len(block) - len(block) % size
        begun = len(self._kinds) * size
        for at in range(0, end, size):
            self._page(block, at, size)
        if self._awaited:
            self._collect(block[:end], begun)
        self._rest = block[end:]

    def finish(self) -> Tree:
        """The tree, once every page was seen; each of its pages is in range, of the right kind, and reached once."""
        if self._rest or not self._page_size:
            raise DamagedDatabase("the database ends within a page")
        meta = max(self._metas, key=lambda meta: meta.transaction, default=None)
        if meta is None:
            raise DamagedDatabase("neither of the database's two meta pages is sound")
        if meta.pages != len(self._kinds):
            raise DamagedDatabase(f"the database has {len(self._kinds)} pages, and {meta.pages} by its own account")
        seen = bytearray(meta.pages)
        buckets = {}
        for page in chain.from_iterable(self._leaves(meta.root, seen)):
            for name, value in self._buckets.get(page, ()):
                buckets[name] = self._bucket(name, value, seen)
        return Tree(self._page_size, meta.pages, meta.transaction, buckets)

    def _measure(self, block: bytes) -> int:
        """The page size, which the first page tells."""
        if len(block) < PAGE_SIZE_AT + 4:
            return 0
        size = int.from_bytes(block[PAGE_SIZE_AT : PAGE_SIZE_AT + 4], "little")
        if size not in PAGE_SIZES:
            raise DamagedDatabase(f"this is no database of etcd: its first page names a page size of {size}")
        self._page_size = size
        return size

    def _page(self, block: bytes, at: int, size: int) -> None:
        number = len(self._kinds)
        page, kind, count, following = HEADER.unpack_from(block, at)
        last = 0
        if page != number:
            kind = count = following = 0  # the inside of a larger page
        elif kind == LEAF_PAGE:
            kind, last = self._leaf(block, at, size, number, count, following)
        elif kind == BRANCH_PAGE:
            kind = self._branch(block, at, size, number, count)
        elif kind == META_PAGE:
            self._meta(block, at)
        self._kinds.append(kind & 0xFF)
        self._counts.append(count)
        self._following.append(following)
        self._last.append(last)

    def _leaf(self, block: bytes, at: int, size: int, number: int, count: int, following: int) -> tuple[int, int]:
        """Its kind, broken if its elements do not lie one behind the other within the page; and its last revision."""
        start = at + HEADER.size
        expected = count * LEAF.size
        if expected > size - HEADER.size:
            return BROKEN_PAGE, 0
        kinds = here = width = content = 0
        for kind, position, width, content in LEAF.iter_unpack(block[start : start + expected]):
            if here + position != expected:
                return BROKEN_PAGE, 0
            here += LEAF.size
            expected += width + content
            kinds |= kind
        if expected > (following + 1) * size - HEADER.size:
            return BROKEN_PAGE, 0
        if width in REVISION_BYTES and not kinds:
            return LEAF_PAGE, self._revision(block, start + expected - width - content, at, number)
        if not following and expected <= REMEMBERED:
            self._remember(block[at : start + expected], number, buckets=bool(kinds & BUCKET_ELEMENT))
        elif kinds & BUCKET_ELEMENT:
            return BROKEN_PAGE, 0
        return LEAF_PAGE, 0

    def _revision(self, block: bytes, place: int, at: int, number: int) -> int:
        """The revision at a place of the block; one that is still to come is noted down later."""
        if place + 8 <= at + self._page_size:
            return int.from_bytes(block[place : place + 8], "big")
        heapq.heappush(self._awaited, (number * self._page_size + place - at, 8, number, b""))
        return 0

    def _collect(self, block: bytes, begun: int) -> None:
        """Pick the keys that were awaited out of a block that begins so far into the file."""
        while self._awaited and self._awaited[0][0] < begun + len(block):
            place, missing, number, found = heapq.heappop(self._awaited)
            found += block[place - begun : place - begun + missing]
            missing = 8 - len(found)
            if missing:
                heapq.heappush(self._awaited, (begun + len(block), missing, number, found))
            else:
                self._last[number] = int.from_bytes(found, "big")

    def _remember(self, page: bytes, number: int, *, buckets: bool) -> None:
        if buckets:
            self._buckets[number] = [(key.decode("utf-8", "replace"), value) for key, value in elements(page)]
        elif b"consistent_index" in page:
            self._items[number] = dict(elements(page))

    def _branch(self, block: bytes, at: int, size: int, number: int, count: int) -> int:
        start = at + HEADER.size
        if not 0 < count * BRANCH.size <= size - HEADER.size:
            return BROKEN_PAGE
        rows = BRANCH.iter_unpack(block[start : start + count * BRANCH.size])
        self._children[number] = array("Q", [child for _, _, child in rows])
        return BRANCH_PAGE

    def _meta(self, block: bytes, at: int) -> None:
        meta = read_meta(block, at, self._page_size) if len(self._kinds) < META_PAGES else None
        if meta:
            self._metas.append(meta)

    def _bucket(self, name: str, value: bytes, seen: bytearray) -> Bucket:
        if len(value) < BUCKET.size:
            raise DamagedDatabase(f"the bucket {name} has no root")
        root = BUCKET.unpack_from(value)[0]
        if not root:  # so small that it lies within its parent
            items = dict(elements(value[BUCKET.size :]))
            return Bucket(len(items), max(map(main_revision, items), default=0), items)
        keys = last = 0
        items = {}
        for pages in self._leaves(root, seen):
            keys += sum(map(self._counts.__getitem__, pages))
            last = max(last, *map(self._last.__getitem__, pages))
            for page in filter(self._items.__contains__, pages):
                items |= self._items[page]
        return Bucket(keys, last, items)

    def _leaves(self, root: int, seen: bytearray) -> Iterator[Sequence[int]]:
        """The leaf pages below a page, those of one parent at a time: there are as many as a database is large."""
        waiting: list[Sequence[int]] = [(root,)]
        while waiting:
            pages = waiting.pop()
            kinds = self._reach(pages, seen)
            if BRANCH_PAGE not in kinds:
                yield pages
                continue
            if LEAF_PAGE in kinds:
                raise DamagedDatabase(f"page {pages[0]} and its siblings lie at two depths of the tree")
            waiting.extend(self._children[page] for page in pages)

    def _reach(self, pages: Sequence[int], seen: bytearray) -> Set[int]:
        """The kinds of some pages, each of which is reached for the first time."""
        if min(pages) < 2 or max(pages) >= len(seen):
            page = next(page for page in pages if not 2 <= page < len(seen))
            raise DamagedDatabase(f"a page is referred to that is not there: {page} of {len(seen)}")
        kinds = set(map(self._kinds.__getitem__, pages))
        if not kinds <= {LEAF_PAGE, BRANCH_PAGE}:
            page = next(page for page in pages if self._kinds[page] not in (LEAF_PAGE, BRANCH_PAGE))
            raise DamagedDatabase(f"page {page} is broken: a part of the keys cannot be read")
        for page in pages:
            following = self._following[page]
            if seen[page] or (following and not self._free(page + 1, following, seen)):
                raise DamagedDatabase(f"page {page} is a part of two things at once")
            seen[page] = 1
        return kinds

    @staticmethod
    def _free(begin: int, count: int, seen: bytearray) -> bool:
        """Whether some pages were not reached before; from now on they were."""
        if begin + count > len(seen) or any(seen[begin : begin + count]):
            return False
        seen[begin : begin + count] = b"\1" * count
        return True
