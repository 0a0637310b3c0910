"""Where this host gets Debian's packages, so that a lab's image and machines get them there too."""

import re
import shutil
import subprocess
from pathlib import Path

_APT = Path("/etc/apt")
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$")


def host_mirrors(suite: str) -> list[str]:
    """The host's own sources of a Debian suite as one-line entries; none when it has none, so defaults apply."""
    files = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*.list"))]
    deb822 = sorted((_APT / "sources.list.d").glob("*.sources"))
    entries = [entry for path in files if path.is_file() for entry in one_line_entries(path.read_text(), suite)]
    entries += [entry for path in deb822 for entry in deb822_entries(path.read_text(), suite)]
    # Security updates alone make no system: without the suite itself, Debian's own defaults do better.
    return entries if any(entry.split()[2] == suite for entry in entries) else []


def one_line_entries(text: str, suite: str) -> list[str]:
    """The entries of a sources.list that belong to a suite."""
    found = (_ONE_LINE.match(line.strip()) for line in text.splitlines())
    return [
        f"deb {entry[1]} {entry[2]} main" for entry in found if entry and _belongs(entry[1], entry[2], entry[3], suite)
    ]


def deb822_entries(text: str, suite: str) -> list[str]:
    """The entries of a .sources file that belong to a suite."""
    entries = []
    for stanza in re.split(r"\n\s*\n", text):
        pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith(("#", " ", "\t")))
        fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        entries += [
            f"deb {uri} {name} main"
            for uri in fields.get("uris", "").split()
            for name in fields.get("suites", "").split()
            if _belongs(uri, name, fields.get("components", ""), suite)
        ]
    return entries


def host_proxy() -> str:
    """The HTTP proxy the host's apt uses, or nothing."""
    if shutil.which("apt-config") is None:
        return ""
    command = ["apt-config", "dump", "--format", "%v", "Acquire::http::Proxy"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return found.stdout.strip()


def _belongs(uri: str, name: str, components: str, suite: str) -> bool:
    # Other projects use Debian's suite names for repositories of their own; Debian's end in debian or debian-security.
    last = uri.rstrip("/").rpartition("/")[2]
    return (
        name in {suite, f"{suite}-updates", f"{suite}-security"} and "main" in components.split() and "debian" in last
    )
