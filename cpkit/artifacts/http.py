"""HTTP with limits, and its failures in words."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from cpkit.errors import CpkitError

MIRROR_HINT = "Name a mirror or an exported bundle with --source."
AGAIN_HINT = "Run the same command again, or name another --source."
SMALL_FILE = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How long a server may take, in seconds, and how often it is asked again."""

    connect: float = 3.0
    read: float = 20.0
    window: float = 60.0  # in each window at least `floor` bytes must arrive
    floor: int = 64 << 10
    attempts: int = 3  # in a row that bring less than `floor`


class NoAnswer(CpkitError):
    """Nobody answers there."""


class NotThere(CpkitError):
    """The server answered that it does not have the file."""


class Cut(CpkitError):
    """The connection ended or fell silent before the file did."""


@contextmanager
def open_client(patience: Patience) -> Iterator[httpx.Client]:
    """An HTTP client that trusts the system's certificates and never waits for ever."""
    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    with httpx.Client(timeout=timeout, follow_redirects=True, verify=ssl.create_default_context()) as client:
        yield client


def shown(url: str) -> str:
    """The URL without the password it may carry."""
    return re.sub(r"^(\w+://)[^/@]*@", r"\1", url)


@contextmanager
def get(client: httpx.Client, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
    """The response to a GET, its body still to be read; raises NoAnswer, NotThere, Cut or CpkitError."""
    try:
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                _refuse_errors(response, url)
            yield response
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        reason = str(error) or "no answer"
        raise NoAnswer(f"cannot reach {httpx.URL(url).host} ({reason})", hint=MIRROR_HINT) from error
    except httpx.TimeoutException as error:
        raise Cut(f"{shown(url)} fell silent for {client.timeout.read:g} s", hint=AGAIN_HINT) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise Cut(f"{shown(url)} was cut off", hint=AGAIN_HINT) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CpkitError(f"{shown(url)}: {error}", hint="Check the address given as --source.") from error


def get_text(client: httpx.Client, url: str) -> str:
    """A small file, whole."""
    body = b""
    with get(client, url) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > SMALL_FILE:
                raise CpkitError(f"{shown(url)} should be a small text file and is not", hint=MIRROR_HINT)
    return body.decode(errors="replace")


def _refuse_errors(response: httpx.Response, url: str) -> None:
    code = response.status_code
    if code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise NotThere(
            f"{shown(url)} does not exist ({code})",
            hint="Check the version and the architecture, and that the mirror has them.",
        )
    if response.is_error:
        raise CpkitError(f"{shown(url)} answers {code} {response.reason_phrase}", hint=MIRROR_HINT)
