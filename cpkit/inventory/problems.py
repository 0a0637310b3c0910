"""Everything that is wrong with an inventory, each with its file and line, told together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from cpkit.errors import UsageError


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file; line 0 is the file as a whole."""

    file: Path
    line: int = 0

    def __str__(self) -> str:
        where = str(self.file)
        if self.file.is_absolute() and self.file.is_relative_to(Path.cwd()):
            where = str(self.file.relative_to(Path.cwd()))
        return f"{where}:{self.line}" if self.line else where


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class InvalidInventory(UsageError):
    """An inventory cannot be used; nothing was touched."""

    def __init__(self, source: Path, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(
            f"{count} in the inventory {Place(source)}:{lines}",
            hint="Nothing was connected to. All variables, with their defaults: cpkit schema",
        )


@dataclass
class Problems:
    """A list to collect problems in."""

    source: Path
    found: list[Problem] = field(default_factory=list)

    def add(self, place: Place, text: str) -> None:
        """Note one more problem."""
        self.found.append(Problem(place, text))

    def stop_if_any(self) -> None:
        """Raise InvalidInventory with all problems so far."""
        if self.found:
            raise InvalidInventory(self.source, self.found)


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """`; did you mean 'x'?` when one of the known words is close to it."""
    words = list(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6) or get_close_matches(
        word.lower().replace("-", "_"), words, n=1, cutoff=0.6
    )
    return f"; did you mean {close[0]!r}?" if close else otherwise


def is_close(word: str, known: Iterable[str]) -> bool:
    """Whether a word looks like a misspelling of a known one."""
    return bool(get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.8))
