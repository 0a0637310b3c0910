"""What a program on a node has around its work: whom it asks, a second try, and how it says that it failed."""

import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from cpkit.errors import CpkitError, Unreachable
from cpkit.node.gateway import Gateway

ATTEMPTS, PAUSE = 3, 4.0  # of a run while etcd does not answer, and seconds between them
BORNE = (CpkitError, OSError, ValueError, KeyError)  # told in one line, not as a traceback
T = TypeVar("T")


class Settings(Protocol):
    """What every program is told of its node."""

    @property
    def node(self) -> str:
        """Its name."""

    @property
    def members(self) -> Mapping[str, str]:
        """HOST:PORT of each node's etcd member; the node's own is on loopback."""

    @property
    def authority(self) -> str:
        """The file of etcd's CA."""

    @property
    def certificate(self) -> str:
        """The file of the node's own health-check certificate."""

    @property
    def key(self) -> str:
        """The file of its key."""


def settings_file(words: Sequence[str], usual: Path) -> Path:
    """The file that a command line names, or the usual one."""
    return next((Path(word) for word in words if word.startswith("/")), usual)


def trusting(settings: Settings) -> ssl.SSLContext:
    """What members are asked with: the node's own health-check certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(settings.authority)
    context.load_cert_chain(settings.certificate, settings.key)
    return context


def member(settings: Settings) -> Gateway:
    """The node's own member."""
    return Gateway(settings.members[settings.node], trusting(settings), node=settings.node)


def patiently(run: Callable[[], T]) -> T:
    """A run; a moment without etcd, as when its leader goes, is waited for."""
    for _ in range(ATTEMPTS - 1):
        try:
            return run()
        except Unreachable as error:
            say(f"{error}; trying again in {PAUSE:g} s")
            time.sleep(PAUSE)
    return run()


@contextmanager
def noting(failed: Callable[[str, str], None]) -> Iterator[None]:
    """End the program when its work fails, once `failed` has noted why and what to do, and it is told in one line."""
    try:
        yield
    except BORNE as error:
        if isinstance(error, CpkitError):
            failed(error.message, error.hint)
        else:
            failed(f"{type(error).__name__}: {error}", "")
        raise SystemExit(told(error)) from None


def say(text: str) -> None:
    """Write a line into the journal."""
    print(text, flush=True)  # noqa: T201 - for the journal


def told(error: BaseException) -> int:
    """Tell an error in one line; the exit code that goes with it."""
    hint = f" {error.hint}" if isinstance(error, CpkitError) and error.hint else ""
    text = str(error) if isinstance(error, CpkitError) else f"{type(error).__name__}: {error}"
    print(f"{text}.{hint}", file=sys.stderr, flush=True)  # noqa: T201 - for the journal
    return 1
