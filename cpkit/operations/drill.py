"""Drill: a backup is brought back on this machine, compared with what it says of itself, and read through an API."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cpkit.backup import Bundle, Manifest, Sidecar, catalogue, resources
from cpkit.backup.encryption import covers, encrypted
from cpkit.backup.errors import FailedDrill
from cpkit.backup.manifest import Hash, Receipt, Verification
from cpkit.backup.parts import node_path, part_name
from cpkit.backup.sandbox import Api, Member, complaint
from cpkit.journal import owner
from cpkit.operations.listener import Listener
from cpkit.operations.restore_objections import COMPARED
from cpkit.operations.sandbox import Asked, Restored, encryption_of, restored, served
from cpkit.pki.authorities import Authorities

SECRETS = "secrets"
READY = 90.0  # seconds until all caches of an API server that serves already are filled
POLL = 0.05


@dataclass(frozen=True)
class Drilled:
    """A backup that was brought back, and the proof in the catalogue."""

    sidecar: Sidecar
    receipt: Receipt


def drill(asked: Asked, listener: Listener) -> Drilled:
    """Bring a backup back and compare; FailedDrill, with the reason, when it is not what the manifest says."""
    began = time.monotonic()
    with restored(asked, listener, check=refuse_useless_keys) as found:
        manifest = found.manifest
        with found.steps.step("Compare keys and counts with the manifest"):
            hashed = _hash(manifest, found.member)
            counts = resources.count(found.member.client, manifest.revision)
            _fail_if(miscounted(manifest.resources, counts))
        with served(found) as api:
            with found.steps.step("List and decrypt what is encrypted"):
                secrets = _read(api, found, counts, listener)
            with found.steps.step("Wait until all of the API is ready"):
                _await_ready(api, found)
            seconds = time.monotonic() - began
    receipt = Receipt(
        seconds=round(seconds, 2),
        revision=manifest.revision,
        hash=hashed,
        keys=sum(counts.values()),
        resources=len(counts),
        secrets=secrets,
        kubernetes=manifest.kubernetes,
        etcd=manifest.etcd,
        steps=found.steps.took,
    )
    proof = Verification(catalogue.now(), "drill", owner(), receipt)
    return Drilled(catalogue.record(asked.store, asked.sidecar, proof), receipt)


def refuse_useless_keys(bundle: Bundle) -> None:
    """FailedDrill when the backup lacks a key that a restore needs, or two halves do not belong together."""
    held = bundle.names
    missing = [part_name(path) for path in COMPARED if part_name(path) not in held]
    if missing:
        raise FailedDrill(
            f"the backup lacks {', '.join(missing)}, so no cluster could be brought back from it alone",
            hint="It was taken in the clear. Take one that is sealed: cpkit backup etcd --recipient age1…",
        )
    try:
        Authorities.from_files({node_path(name): bundle.read(name).decode() for name in held if node_path(name)})
    except ValueError as error:
        raise FailedDrill(f"the backup's keys are of no use: {error}") from None


def chosen(hashes: tuple[Hash, ...], node: str) -> Hash | None:
    """The hash to compare with: that of the member the snapshot came from, else any."""
    return next((each for each in hashes if each.node == node), hashes[0] if hashes else None)


def miscounted(wanted: Mapping[str, int] | None, found: Mapping[str, int]) -> str:
    """In words, which resources have another number of keys than the manifest says; "" when none has."""
    if wanted is None:
        return ""
    names = sorted({*wanted, *found})
    wrong = [
        f"{name} {found.get(name, 0)} of {wanted.get(name, 0)}" for name in names if found.get(name) != wanted.get(name)
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"other numbers of keys than the manifest says: {', '.join(wrong[:3])}{more}" if wrong else ""


def _hash(manifest: Manifest, member: Member) -> int | None:
    """HashKV at the backup's revision, equal to what the members said when it was taken."""
    wanted = chosen(manifest.hashes, manifest.source.node)
    if wanted is None:
        return None
    if wanted.compacted > max(manifest.compacted, 0):
        # The member compacted between its snapshot and its hash, and a hash covers what is left from there on.
        member.client.compact(wanted.compacted, physical=True)
    said = member.client.hash_kv(wanted.revision)
    if (said.hash, said.revision) != (wanted.hash, wanted.revision):
        raise FailedDrill(
            f"other keys than those of {wanted.node}: HashKV at revision {said.revision} is {said.hash:08x}, "
            f"and was {wanted.hash:08x} when the backup was taken",
            hint="Nothing may be restored from it. Take a new backup, and look at the cluster: cpkit health",
        )
    return said.hash


def _read(api: Api, found: Restored, counts: Mapping[str, int], listener: Listener) -> int:
    """Read every object that the backup's keys encrypt, Secrets in any case; how many Secrets there are."""
    names = encrypted(encryption_of(found.bundle))
    secrets = 0
    for resource in api.resources():
        if resource.full != SECRETS and not covers(names, resource.full):
            continue
        read = sum(1 for _ in api.list(resource, found.manifest.revision))
        listener.status(f"{read} {resource.full}")
        secrets = read if resource.full == SECRETS else secrets
    if secrets != counts.get(SECRETS, 0):
        raise FailedDrill(f"{secrets} Secrets can be read of {counts.get(SECRETS, 0)}")
    return secrets


def _await_ready(api: Api, found: Restored) -> None:
    deadline = time.monotonic() + READY
    while not api.ready():
        if time.monotonic() > deadline:
            raise FailedDrill(f"the restored API is not ready after {READY:.0f} s: {complaint(found.ground)}")
        time.sleep(POLL)


def _fail_if(problem: str) -> None:
    if problem:
        raise FailedDrill(problem, hint="Nothing may be restored from it. Take a new backup.")
