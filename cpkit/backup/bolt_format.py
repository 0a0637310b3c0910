"""How bbolt lays a database out in pages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

from cpkit.backup.errors import DamagedDatabase

MAGIC, VERSION = 0xED0CDAED, 2
HEADER = Struct("<QHHI")  # page ID, flags, number of elements, pages that follow as part of this one
META = Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, its sequence, freelist, high water mark, txid
CHECKSUM = Struct("<Q")
LEAF = Struct("<IIII")  # flags, where the key is, its length, the value's length
BRANCH = Struct("<IIQ")  # where the key is, its length, the child
BUCKET = Struct("<QQ")  # root page, sequence
PAGE_SIZE_AT = HEADER.size + 8
BRANCH_PAGE, LEAF_PAGE, META_PAGE, BROKEN_PAGE = 0x01, 0x02, 0x04, 0x80
BUCKET_ELEMENT = 0x01
META_PAGES = 2
REVISION_BYTES = (17, 18)  # etcd's keys: revision, `_`, its part, and `t` on a deletion
REMEMBERED = 1 << 14  # bytes of a leaf that may be kept whole: a bucket of settings is never larger
PAGE_SIZES = tuple(1 << power for power in range(9, 17))

Items = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Meta:
    """What a meta page says of the database, if it is sound."""

    root: int
    pages: int
    transaction: int


def fnv(data: bytes) -> int:
    """The FNV-1a hash of 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def elements(page: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a leaf that is held whole."""
    count = HEADER.unpack_from(page)[2] if len(page) >= HEADER.size else 0
    if len(page) < HEADER.size + count * LEAF.size:
        raise DamagedDatabase("a bucket is cut off")
    for index in range(count):
        start = HEADER.size + index * LEAF.size
        _, position, width, content = LEAF.unpack_from(page, start)
        key = start + position
        if key + width + content > len(page):
            raise DamagedDatabase("a bucket is cut off")
        yield page[key : key + width], page[key + width : key + width + content]


def main_revision(key: bytes) -> int:
    """The revision in a key of etcd; 0 for any other key."""
    return int.from_bytes(key[:8], "big") if len(key) in REVISION_BYTES else 0


def read_meta(block: bytes, at: int, page_size: int) -> Meta | None:
    """The meta page that begins there; None unless its checksum is right."""
    start = at + HEADER.size
    magic, version, told_size, _, root, _, _, pages, transaction = META.unpack_from(block, start)
    checksum = CHECKSUM.unpack_from(block, start + META.size)[0]
    sound = (magic, version, told_size, checksum) == (
        MAGIC,
        VERSION,
        page_size,
        fnv(block[start : start + META.size]),
    )
    return Meta(root, pages, transaction) if sound else None
