"""Follow real members into a store as `cpkit backup stream` does, without a cluster around them; also as a program."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.backup import Sealing, Sidecar, catalogue, chain, open_store
from cpkit.backup.chain import Chain
from cpkit.backup.following import End, Following, Where
from cpkit.backup.growing import Growing
from cpkit.backup.keys import recipients
from cpkit.etcd import MemberClient


@dataclass(frozen=True)
class Credentials:
    """Where members listen, and what they want to see."""

    ports: tuple[int, ...]
    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)

    @contextmanager
    def member(self, turn: int) -> Iterator[MemberClient]:
        port = self.ports[turn % len(self.ports)]
        with MemberClient(
            "127.0.0.1",
            port,
            ca=self.ca,
            cert=self.cert,
            key=self.key,
            timeout=5,
            node=f"cp{turn % len(self.ports) + 1}",
        ) as client:
            yield client


@dataclass
class Stream:
    """A stream under way in a thread."""

    store: Path | str
    base: Sidecar
    key: Sealing
    members: Credentials
    close_after: float = 0.2
    over: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)
    seen: list[Where] = field(default_factory=list)
    end: End | None = None
    error: Exception | None = None

    def run(self) -> None:
        try:
            self.end = follow(self.store, self.base, self.key, self.members, self)
        except Exception as error:
            self.error = error

    def chain(self) -> Chain:
        return chain_of(self.store, self.base)


def chain_of(store: Path | str, base: Sidecar) -> Chain:
    """What the store holds of a stream by now."""
    with open_store(str(store)) as opened:
        return chain.find(opened, base) or Chain(base, (), None)


def follow(store: Path | str, base: Sidecar, key: Sealing, members: Credentials, stream: Stream) -> End:
    growing = Growing(
        chain_of(store, base),
        key,
        owner="a test",
        opening=lambda: open_store(str(store)),
        say=stream.said.append,
        close_after=stream.close_after,
    )
    growing.begin()

    def reason() -> End | None:
        return "told" if stream.over.is_set() else None

    following = Following(growing, members.member, reason, stream.seen.append, stream.said.append)
    try:
        end = following.run()
        growing.tell(ended=end == "told")
    finally:
        growing.release()
    return end


@contextmanager
def streaming(
    store: Path | str, base: Sidecar, key: Sealing, members: Credentials, close_after: float = 0.2
) -> Iterator[Stream]:
    """A stream, ended on the way out."""
    stream = Stream(store, base, key, members, close_after)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield stream
    finally:
        stream.over.set()
        thread.join(30)
    assert stream.error is None, stream.error


def main() -> None:
    """What a test kills: STORE BACKUP RECIPIENT FOLDER PORT…"""
    store, name, recipient, folder = sys.argv[1:5]
    pem = {name: (Path(folder) / f"{name}.pem").read_bytes() for name in ("ca", "cert", "key")}
    members = Credentials(tuple(map(int, sys.argv[5:])), **pem)
    with open_store(store) as opened:
        base = catalogue.find(opened, name)
    stream = Stream(Path(store), base, recipients([recipient]), members)
    signal.signal(signal.SIGINT, lambda *_: stream.over.set())
    stream.run()
    sys.exit(f"{stream.error}" if stream.error else 0)


if __name__ == "__main__":
    main()
