"""A backup brought back on this machine for a short while, step by step."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.backup import Bundle, Manifest, Opening, Sidecar, Store, open_bundle
from cpkit.backup.encryption import refuse_distant_keys
from cpkit.backup.parts import part_name
from cpkit.backup.sandbox import Api, Ground, Member, apiserver, ground, laying, member, prepare
from cpkit.operations.listener import Listener
from cpkit.operations.meter import Meter
from cpkit.pki.authorities import ENCRYPTION

UNIT = part_name("/etc/systemd/system/kube-apiserver.service")
KEYS = part_name(ENCRYPTION)


@dataclass
class Steps:
    """Steps that are shown, and how many seconds each took."""

    listener: Listener
    took: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of them."""
        began, outcome = time.monotonic(), "failed"
        self.listener.begin(name)
        try:
            yield
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            seconds = time.monotonic() - began
            self.took[name] = round(seconds, 2)
            self.listener.end(name, outcome, seconds)


@dataclass(frozen=True)
class Asked:
    """Which backup is brought back, and how."""

    store: Store
    sidecar: Sidecar
    key: Opening = field(repr=False)
    place: Path | None = None  # a tmpfs that the user names


@dataclass(frozen=True)
class Restored:
    """A backup's etcd, running."""

    bundle: Bundle
    ground: Ground
    member: Member
    steps: Steps

    @property
    def manifest(self) -> Manifest:
        """What the backup says of itself."""
        return self.bundle.manifest


@contextmanager
def restored(
    asked: Asked, listener: Listener, *, check: Callable[[Bundle], None] = lambda _: None
) -> Iterator[Restored]:
    """An etcd that holds what a backup holds; everything that can be known is checked before anything starts."""
    sidecar, steps = asked.sidecar, Steps(listener)
    prepared = prepare(sidecar, asked.place)
    with ExitStack() as stack:
        with steps.step(f"Prove {sidecar.name} while it comes into memory"):
            held = stack.enter_context(ground(prepared))
            meter = Meter(listener, sidecar.size)
            with laying(held.scratch) as (snapshot, lay):
                bundle = open_bundle(asked.store, sidecar.name, asked.key, progress=meter.advance, copy=lay)
            refuse_distant_keys(encryption_of(bundle))
            check(bundle)
        with steps.step("Restore and start etcd"):
            running = stack.enter_context(member(held, snapshot))
        yield Restored(bundle, held, running, steps)


@contextmanager
def served(found: Restored) -> Iterator[Api]:
    """The API of a restored etcd."""
    unit = found.bundle.read(UNIT).decode() if UNIT in found.bundle.names else ""
    with ExitStack() as stack:
        with found.steps.step("Start the API server"):
            api = stack.enter_context(
                apiserver(found.ground, found.member, encryption=encryption_of(found.bundle), unit=unit)
            )
        yield api


def encryption_of(bundle: Bundle) -> bytes | None:
    """The EncryptionConfiguration in a backup; None in one that was taken without keys."""
    return bundle.read(KEYS) if KEYS in bundle.names else None
