"""What single values of an inventory must look like; every function returns its value or raises ValueError."""

import re
from ipaddress import IPv4Address, IPv4Network, ip_address
from urllib.parse import urlsplit

MAX_PORT = 65535
API_PORT = 6443
STORES = "It is an absolute path, sftp://user@host/path or s3://bucket/prefix?endpoint=https://…&region=…"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_NAME_LENGTH = 253
# Service networks: kube-apiserver takes 20 bits of addresses at most; below 16 addresses there is no room for the
# cluster's own Services. Pod networks: every node takes a /24 of them, and 2^16 of these is Kubernetes' bound.
_SERVICE_PREFIXES = range(12, 29)
_POD_PREFIXES = range(8, 25)


def written(value: object) -> object:
    """A network as text or as itself; a bare number would be taken for an address."""
    if isinstance(value, bool | int | float | bytes):
        raise ValueError(f"{value!r} is no IPv4 network, as 10.96.0.0/12")  # noqa: TRY004 - pydantic collects these
    return value


def minor_text(value: object) -> object:
    """A minor as text; bare, YAML takes 1.40 for the number 1.4."""
    if isinstance(value, int | float):
        raise ValueError(f'{value!r} is a number; write the minor in quotes, as "1.36"')  # noqa: TRY004 - pydantic collects these
    if isinstance(value, str) and value and not re.fullmatch(r"[0-9]+\.[0-9]+", value):
        raise ValueError(f"{value!r} is no minor, as 1.36")
    return value


def dns_name(text: str) -> str:
    """A name as DNS has them."""
    labels = text.split(".")
    digits = labels[-1].isdigit()  # such a name is meant as an address
    if len(text) > _NAME_LENGTH or digits or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is no DNS name")
    return text


def name_or_address(text: str) -> str:
    """What a certificate may be issued for: a DNS name, with or without a wildcard, or an IP address."""
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        return dns_name(text.removeprefix("*.")) and text
    except ValueError:
        raise ValueError(f"{text!r} is neither a DNS name nor an IP address") from None


def service_network(network: IPv4Network) -> IPv4Network:
    """A network that kube-apiserver takes for Services."""
    if network.prefixlen not in _SERVICE_PREFIXES:
        raise ValueError(f"{network} must be between a /{_SERVICE_PREFIXES[0]} and a /{_SERVICE_PREFIXES[-1]}")
    return network


def pod_network(network: IPv4Network) -> IPv4Network:
    """A network that can be dealt out to nodes."""
    if network.prefixlen not in _POD_PREFIXES:
        raise ValueError(f"{network} must be between a /{_POD_PREFIXES[0]} and a /{_POD_PREFIXES[-1]}")
    return network


def audit_policy(text: str) -> str:
    """An audit policy in YAML, as far as its first lines tell; empty for none."""
    if text and not re.search(r"^kind:\s*Policy\s*$", text, re.MULTILINE):
        raise ValueError("must be the text of an audit policy, with a line `kind: Policy`")
    return text


def endpoint(text: str) -> tuple[str, int]:
    """HOST or HOST:PORT as its parts; the host is an IPv4 address or a DNS name."""
    host, colon, port = text.partition(":")
    if not colon:
        port = str(API_PORT)
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= MAX_PORT):
        raise ValueError(f"{text!r} is no HOST or HOST:PORT: a port is 1 to {MAX_PORT}")
    try:
        return str(IPv4Address(host)), int(port)
    except ValueError:
        pass
    try:
        return dns_name(host), int(port)
    except ValueError:
        raise ValueError(f"{text!r} is no HOST or HOST:PORT: {host!r} is neither an IPv4 address nor a name") from None


def store_location(text: str) -> str:
    """Where backups are kept: an absolute path, or the URL of a store; empty for nowhere."""
    parts = urlsplit(text)
    if parts.password:
        raise ValueError("must hold no password: SSH keys and the usual settings of AWS are used")
    if parts.scheme in ("", "file"):
        if text and (parts.netloc or not parts.path.startswith(("/", "~"))):
            raise ValueError(f"{text!r} is no store. {STORES}")
    elif parts.scheme not in ("sftp", "s3") or not parts.hostname:
        raise ValueError(f"{text!r} is no store. {STORES}")
    elif parts.scheme == "sftp" and parts.path in ("", "/"):
        raise ValueError(f"{text!r} names no directory")
    return text


def recipient(text: str) -> str:
    """A public key that backups are sealed for."""
    if not re.fullmatch(r"age1[a-z0-9]{50,}|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( .*)?", text):
        raise ValueError(f"{text!r} is no recipient, as age1…; make one with: cpkit backup key FILE")
    return text
