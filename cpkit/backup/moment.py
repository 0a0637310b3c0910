"""Which revision a wish for a time means, and whether a chain reaches it; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cpkit.backup.chain import Chain, moment
from cpkit.backup.manifest import Sidecar
from cpkit.backup.segment import Segment
from cpkit.errors import Refused, UsageError


@dataclass(frozen=True)
class Wish:
    """A moment to go back to: a revision, or a time."""

    revision: int = 0
    time: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.revision or self.time)

    def __str__(self) -> str:
        return f"revision {self.revision}" if self.revision else f"{self.time:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


@dataclass(frozen=True)
class Found:
    """A revision, and when it was received; `doubt` says what is not certain of that time."""

    revision: int
    at: datetime | None
    doubt: str = ""


def parse_time(text: str) -> datetime:
    """A time with its zone, in ISO 8601; UsageError says what is wrong with it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", hint="Write it like 2031-05-06T07:08:09Z") from None
    if at.tzinfo is None:
        raise UsageError(f"{text!r} names no time zone", hint=f"For UTC: {text}Z")
    return at


def reaches(base: Sidecar, chain: Chain | None, wish: Wish) -> bool:
    """Whether a wish lies between a backup and the end of its stream."""
    if wish.revision:
        return base.revision <= wish.revision <= (chain.last if chain else base.revision)
    assert wish.time is not None  # noqa: S101 - a wish is one of both
    return chain is not None and base.created <= wish.time <= moment(chain.until)


def choose(bases: Sequence[Sidecar], chains: dict[str, Chain], wish: Wish) -> Sidecar:
    """The backup to go on from: the newest that reaches the wish; Refused says what could be reached."""
    able = [base for base in bases if reaches(base, chains.get(base.name), wish)]
    sound = [base for base in able if base.name not in chains or not chains[base.name].broken]
    if able:
        return max(sound or able, key=lambda base: (base.revision, base.created))
    told = [range_of(chains[base.name]) for base in bases if base.name in chains][:3]
    hint = "What can be reached: " + "; ".join(told) if told else "No backup has a stream: cpkit backup stream"
    raise Refused(f"no backup and no stream reaches {wish}", hint=hint)


def range_of(chain: Chain) -> str:
    """From where to where a chain leads, in words."""
    begin, end = f"{chain.base.created:%Y-%m-%d %H:%M:%S}", f"{moment(chain.until):%Y-%m-%d %H:%M:%S}"
    return f"revisions {chain.base.revision} to {chain.last}, {begin} to {end} UTC"


def resolve(base: Sidecar, segments: Iterable[Segment], wish: Wish) -> Found:
    """The revision a wish means: the last that was received by then."""
    found, before = Found(base.revision, None), int(base.created.timestamp() * 1000)
    if wish.revision == base.revision:
        return found
    wanted = int(wish.time.timestamp() * 1000) if wish.time else 0
    for segment in segments:
        head = segment.head
        if wanted and before < wanted < head.since:
            text = f"{moment(before):%H:%M:%S.%f}"[:-3] + " to " + f"{moment(head.since):%H:%M:%S.%f}"[:-3]
            return Found(found.revision, found.at, f"nobody followed from {text}; writes in between count as later")
        for record in segment.records():
            if (wanted and record.at > wanted) or (wish.revision and record.revision > wish.revision):
                return found
            found = Found(record.revision, moment(record.at))
        if found.revision == wish.revision or (wanted and wanted <= head.until):
            return found  # what comes after it may be broken
        before = head.until
    return found
