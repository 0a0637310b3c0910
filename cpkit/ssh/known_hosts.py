"""Which host keys are pinned for a host: OpenSSH's known_hosts files."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

Verdict = Literal["known", "unknown", "changed", "revoked"]

_HASHED = "|1|"


@dataclass(frozen=True)
class HostKey:
    """A public host key, as known_hosts writes it."""

    kind: str
    blob: str  # base64

    @property
    def fingerprint(self) -> str:
        """The key's SHA-256 as OpenSSH prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Pinned:
    """What the known_hosts files say of one host."""

    keys: frozenset[HostKey]
    revoked: frozenset[HostKey]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of key that are pinned, so that the host is asked for one of them."""
        return frozenset(key.kind for key in self.keys)

    def judge(self, key: HostKey) -> Verdict:
        """Whether a key that a host shows is the pinned one."""
        if key in self.revoked:
            return "revoked"
        if key in self.keys:
            return "known"
        return "changed" if key.kind in self.kinds else "unknown"


def pinned(files: Iterable[Path], host: str, port: int) -> Pinned:
    """The keys that the files hold for a host; a file that does not exist holds none."""
    name = name_of(host, port)
    keys: set[HostKey] = set()
    revoked: set[HostKey] = set()
    for file in files:
        if not file.is_file():
            continue
        for marker, patterns, key in _entries(file.read_text(encoding="utf-8", errors="replace")):
            # A certificate authority vouches for certificates of hosts, which are not supported.
            if marker != "@cert-authority" and _matches(name, patterns):
                (revoked if marker == "@revoked" else keys).add(key)
    return Pinned(frozenset(keys), frozenset(revoked))


def name_of(host: str, port: int) -> str:
    """A host's name in known_hosts: `host`, or `[host]:port` off the standard port."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _entries(text: str) -> Iterator[tuple[str, str, HostKey]]:
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#"):
            yield marker, words[0], HostKey(kind=words[1], blob=words[2])


def _matches(name: str, patterns: str) -> bool:
    if patterns.startswith(_HASHED):
        return _matches_hash(name, patterns)
    found = False
    for pattern in patterns.lower().split(","):
        wanted = pattern.removeprefix("!")
        # Brackets are literal in known_hosts, and a class in fnmatch.
        if name == wanted or fnmatchcase(name, wanted.replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches_hash(name: str, entry: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in entry.removeprefix(_HASHED).split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
