"""The chain of segments that goes on from a backup: how they are called, what a store holds of them, and reading them.

`BASE.NUMBER-rREVISION-UNTIL.seg` is a segment, `BASE.stream` says who follows and until when, and `BASE.streamkey`
holds, sealed with the passphrase, the key of a stream that has one: scrypt takes a second, and segments come every
other. Nodes read this too, with the standard library alone.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from cpkit.backup import segment
from cpkit.backup.errors import DamagedBackup
from cpkit.backup.keys import Identities, Opening, Passphrase
from cpkit.backup.manifest import Sidecar
from cpkit.backup.naming import parse
from cpkit.backup.segment import Segment
from cpkit.backup.stores.model import Item, Store
from cpkit.backup.streams import chunks

SEGMENT, STATE, KEY = ".seg", ".stream", ".streamkey"
SMALL = 1 << 16
FOLLOWED = timedelta(hours=1)  # without a word of its stream until a backup counts as followed no more
_NAME = re.compile(r"(?P<base>.+)\.(?P<number>\d{8})-r(?P<last>\d+)-(?P<until>\d{13})\.seg")


@dataclass(frozen=True)
class State:
    """Who follows, and how far that has come; it holds no secret."""

    owner: str
    token: str  # what tells one run from another
    number: int  # of the last segment
    revision: int
    until: int  # ms; as of then nothing else was written
    previous: str  # SHA-256 of the last object
    ended: bool = False  # told to end, not cut off


@dataclass(frozen=True)
class Link:
    """A segment in a store, by its name."""

    base: str
    number: int
    last: int
    until: int
    item: Item


@dataclass(frozen=True)
class Chain:
    """What a store holds of the stream that goes on from a backup."""

    base: Sidecar
    links: tuple[Link, ...]
    state: State | None
    broken: str = ""  # why it cannot be followed to its end

    @property
    def last(self) -> int:
        """The revision up to which nothing is missing."""
        return self.links[-1].last if self.links else self.base.revision

    @property
    def until(self) -> int:
        """Until when it was followed, in ms."""
        begun = int(self.base.created.timestamp() * 1000)
        return max((self.state.until if self.state else 0), self.links[-1].until if self.links else begun)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(link.item.size for link in self.links)


def segment_name(base: str, number: int, last: int, until: int) -> str:
    """What a segment is called; names sort as segments follow one another."""
    return f"{base}.{number:08d}-r{last}-{until:013d}{SEGMENT}"


def base_of(name: str) -> str:
    """The backup that an object of a stream belongs to; "" for any other object."""
    match = _NAME.fullmatch(name)
    stem = match["base"] if match else next((name.removesuffix(end) for end in (STATE, KEY) if name.endswith(end)), "")
    return stem if stem and parse(stem) else ""


def find(store: Store, base: Sidecar, items: Iterable[Item] | None = None) -> Chain | None:
    """The stream of a backup; None when it has none."""
    return found(store, (base,), store.list() if items is None else items).get(base.name)


def found(store: Store, bases: Iterable[Sidecar], items: Iterable[Item]) -> dict[str, Chain]:
    """The streams of backups, by the backup's name."""
    links: dict[str, list[Link]] = {}
    states = set()
    for item in items:
        if match := _NAME.fullmatch(item.name):
            link = Link(match["base"], int(match["number"]), int(match["last"]), int(match["until"]), item)
            links.setdefault(link.base, []).append(link)
        elif item.name.endswith(STATE):
            states.add(item.name.removesuffix(STATE))
    chains = {}
    for base in bases:
        if base.name in links or base.name in states:
            try:
                state, broken = read_state(store, base.name) if base.name in states else None, ""
            except DamagedBackup as error:
                state, broken = None, error.message
            chains[base.name] = _chain(base, links.get(base.name, []), state, broken)
    return chains


def _chain(base: Sidecar, links: list[Link], state: State | None, broken: str) -> Chain:
    ordered = tuple(sorted(links, key=lambda link: link.item.name))
    last = base.revision
    for number, link in enumerate(ordered, 1):
        if link.number != number:
            what = "there are two segments" if link.number < number else "there is no segment"
            broken = broken or f"{what} {min(number, link.number)} of the stream after {base.name}"
        if link.last < last:
            broken = broken or f"segment {link.number} of the stream after {base.name} goes back to {link.last}"
        last = link.last
    if state and state.number > len(ordered):
        broken = broken or f"the stream after {base.name} lacks its end: {len(ordered)} segments of {state.number}"
    return Chain(base, ordered, state, broken)


def read_state(store: Store, base: str) -> State | None:
    """Who follows; None when nobody ever did."""
    if store.stat(base + STATE) is None:
        return None
    try:
        state = State(**json.loads(store.read(base + STATE, SMALL)))
    except (ValueError, TypeError) as error:
        raise DamagedBackup(f"{base}{STATE} cannot be read: {error}") from None
    if any(type(getattr(state, name)) is not kind for name, kind in State.__annotations__.items()):
        raise DamagedBackup(f"{base}{STATE} cannot be read: a value is of another kind")
    return state


def write_state(store: Store, base: str, state: State) -> None:
    """Say who follows, and how far."""
    store.write(base + STATE, (json.dumps(asdict(state)) + "\n").encode())


def stored_digest(store: Store, name: str) -> str:
    """The SHA-256 of an object."""
    digest = hashlib.sha256()
    with store.open(name) as source:
        for data in chunks(source):
            digest.update(data)
    return digest.hexdigest()


def opening_of(store: Store, base: str, key: Opening) -> Opening:
    """What opens the segments: the key of the backup, or the one that its passphrase opens."""
    if not isinstance(key, Passphrase):
        return key
    from cpkit.backup.streamkey import open_key

    return Identities(open_key(store.read(base + KEY, SMALL), key, base + KEY), base + KEY)


def segments(store: Store, chain: Chain, key: Opening) -> Iterator[Segment]:
    """Every segment in order, each proven to be the one that follows; DamagedBackup says where the chain breaks."""
    opening = opening_of(store, chain.base.name, key) if chain.links else key
    previous, last, until = chain.base.sha256, chain.base.revision, 0
    for number, link in enumerate(chain.links, 1):
        name = link.item.name
        if link.number != number:
            raise _broken(chain)
        data = b"".join(_read(store, name))
        one = segment.read(data, opening, name)
        head = one.head
        told = (head.base, head.number, head.last, head.until)
        if told != (link.base, link.number, link.last, link.until):
            raise DamagedBackup(f"{name} is another segment: {head.number} after {head.base}, up to {head.last}")
        if (head.previous, head.first) != (previous, last + 1):
            raise DamagedBackup(f"{name} does not follow the object before it: the chain is broken")
        if head.until < until or head.since > head.until:
            raise DamagedBackup(f"{name} goes back in time")
        yield one
        previous, last, until = hashlib.sha256(data).hexdigest(), head.last, head.until
    if chain.broken:
        raise _broken(chain)
    if chain.state and chain.state.number == len(chain.links) and chain.state.previous != previous:
        raise DamagedBackup(f"the last object of the stream after {chain.base.name} is not the one that was stored")


def _broken(chain: Chain) -> DamagedBackup:
    return DamagedBackup(chain.broken, hint="Nothing beyond that can be brought back by this stream.")


def followed(chain: Chain | None, now: datetime) -> bool:
    """Whether somebody goes on from the backup of this chain."""
    if chain is None or (chain.state and chain.state.ended):
        return False
    return now - moment(chain.until) <= FOLLOWED


def moment(ms: int) -> datetime:
    """A time of a stream."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def remove(store: Store, base: str, items: Iterable[Item]) -> None:
    """Delete a stream, its end first, so that what a cut leaves behind is a chain still."""
    mine = sorted((item.name for item in items if base_of(item.name) == base), reverse=True)
    for name in sorted(mine, key=lambda name: not name.endswith(STATE)):
        store.delete(name)


def _read(store: Store, name: str) -> Iterator[bytes]:
    with store.open(name) as source:
        yield from chunks(source)
