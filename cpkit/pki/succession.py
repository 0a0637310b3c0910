"""Old and new of each authority that is being replaced, and the files that a node holds at each stage; in memory.

Three stages lead from the old to the new. At the end of each, every node trusts both, then issues with the new one,
then trusts the new one alone. Both generations lie on every node from the first stage on until all is proven, so that
losing the operator's machine loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from cryptography.hazmat.primitives import hashes, serialization

from cpkit.pki.authorities import (
    CLUSTER_CA,
    ETCD_CA,
    FRONT_PROXY_CA,
    PKI,
    SERVICE_ACCOUNT_KEY,
    SERVICE_ACCOUNT_PUBLIC,
    Authorities,
    Held,
)
from cpkit.pki.certificates import Authority, new_authority
from cpkit.pki.keys import new_key, public_to_pem

Name = Literal["cluster", "etcd", "front_proxy", "service_account"]
Stage = Literal["trust", "issue", "distrust"]
Generation = Literal["old", "new"]
STAGES: tuple[Stage, ...] = ("trust", "issue", "distrust")
ROTATION = "/var/lib/cpkit/rotation"
# Where each authority lies: what is trusted, and the key that signs.
FILES: Mapping[Name, tuple[str, str]] = {
    "cluster": CLUSTER_CA,
    "etcd": ETCD_CA,
    "front_proxy": FRONT_PROXY_CA,
    "service_account": (SERVICE_ACCOUNT_PUBLIC, SERVICE_ACCOUNT_KEY),
}
NAMES: tuple[Name, ...] = tuple(FILES)
WORDS: Mapping[Name, str] = {
    "cluster": "the cluster's CA",
    "etcd": "etcd's CA",
    "front_proxy": "the front-proxy CA",
    "service_account": "the service-account key",
}


@dataclass(frozen=True)
class Succession:
    """The authorities before and after; those that are not replaced are the same in both."""

    names: tuple[Name, ...]
    old: Authorities
    new: Authorities

    def at(self, stage: Stage) -> Authorities:
        """What a node holds at the end of a stage."""
        signing = self.old if stage == "trust" else self.new
        for name in self.names:
            signing = _with(signing, name, self.old, self.new, stage)
        return signing

    def files(self, stage: Stage) -> dict[str, str]:
        """What is laid down in a stage: both generations, and the authorities as they are at its end."""
        held = self.at(stage).files()
        return self.kept() | {path: held[path] for name in self.names for path in FILES[name]}

    def kept(self) -> dict[str, str]:
        """Both generations, as every node keeps them aside until the end."""
        generations = {"old": self.old.files(), "new": self.new.files()}
        return {
            aside(path, generation): held[path]
            for generation, held in generations.items()
            for name in self.names
            for path in FILES[name]
        }

    @property
    def fingerprints(self) -> dict[Name, str]:
        """Of the new ones, as the agent tells them."""
        return {name: fingerprint(self.new, name) for name in self.names}


def aside(path: str, generation: str) -> str:
    """Where one generation of an authority's file is kept meanwhile."""
    return f"{ROTATION}/{generation}{path.removeprefix(PKI)}"


def begin(old: Authorities, names: tuple[Name, ...], *, key_type: str, ca_days: int) -> Succession:
    """New authorities for those named; the subject of a CA stays, its key and so its key identifier do not."""
    new = old
    for name in names:
        if name == "service_account":
            new = replace(new, service_account=new_key(key_type), also_verifies=())
        else:
            new = _set(new, name, _successor(_ca(old, name), key_type=key_type, days=ca_days))
    return Succession(names, old, new)


def taken_up(held: Held, names: tuple[Name, ...]) -> Succession:
    """What a run that was cut off left on a node; KeyError or ValueError when it is not whole."""
    before, after = (
        Authorities.from_files({**held, **{path: held[aside(path, each)] for name in names for path in FILES[name]}})
        for each in ("old", "new")
    )
    return Succession(names, before, after)


def paths() -> tuple[str, ...]:
    """Every file that `taken_up` looks at besides the shared ones."""
    return tuple(aside(path, each) for each in ("old", "new") for pair in FILES.values() for path in pair)


def flags(names: tuple[Name, ...]) -> str:
    """The options of the command that mean these authorities."""
    cas = [name for name in names if name != "service_account"]
    words = ["--ca all" if len(cas) == len(FILES) - 1 else " ".join(f"--ca {name.replace('_', '-')}" for name in cas)]
    return " ".join([*filter(None, words), *(["--service-account"] if "service_account" in names else [])])


def fingerprint(authorities: Authorities, name: Name) -> str:
    """What tells an authority from others, as the agent makes it."""
    if name == "service_account":
        digest = hashes.Hash(hashes.SHA256())
        public = authorities.service_account.public_key()
        digest.update(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
        return digest.finalize().hex()[:16]
    return _ca(authorities, name).certificate.fingerprint(hashes.SHA256()).hex()


def _with(signing: Authorities, name: Name, old: Authorities, new: Authorities, stage: Stage) -> Authorities:
    if name == "service_account":
        besides = {
            "trust": (*old.also_verifies, public_to_pem(new.service_account)),
            "issue": (public_to_pem(old.service_account), *old.also_verifies),
            "distrust": (),
        }
        return replace(signing, also_verifies=besides[stage])
    before, after = _ca(old, name), _ca(new, name)
    also = {
        "trust": (*before.also, after.certificate),
        "issue": (before.certificate, *before.also),
        "distrust": (),
    }[stage]
    return _set(signing, name, replace(_ca(signing, name), also=also))


def _successor(old: Authority, *, key_type: str, days: int) -> Authority:
    """A CA of the same name with a key of its own, by which clients tell the two apart."""
    (name,) = (str(attribute.value) for attribute in old.certificate.subject)
    return new_authority(name, key_type=key_type, days=days)


def _ca(authorities: Authorities, name: Name) -> Authority:
    found: Authority = getattr(authorities, name)
    return found


def _set(authorities: Authorities, name: Name, authority: Authority) -> Authorities:
    changes: dict[str, Authority] = {name: authority}
    return replace(authorities, **changes)  # type: ignore[arg-type]
