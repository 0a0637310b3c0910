"""What the openssl program does: keys, signatures and their verification. No key is in an argument or a new file."""

import subprocess

from cpkit.errors import CpkitError

PATIENCE = 30.0  # a large RSA key takes its time


def new_key(kind: str) -> bytes:
    """A private key of a kind that `pki_key_type` names, in the traditional form that kubeadm writes."""
    if kind == "ecdsa-p256":
        return _ran("ecparam", "-name", "prime256v1", "-genkey", "-noout")
    return _ran("genrsa", "-traditional", kind.removeprefix("rsa-"))


def public_half(key: bytes) -> bytes:
    """The public half of a private key, in DER."""
    return _ran("pkey", "-pubout", "-outform", "DER", stdin=key)


def signature(body: bytes, key_file: str) -> bytes:
    """A signature by the key in a file."""
    return _ran("dgst", "-sha256", "-sign", key_file, stdin=body)


def verify(certificate: bytes, authority_file: str, *, ever: bool = False) -> None:
    """CpkitError unless the authority in a file signed a certificate, and unless it is valid now, or `ever`."""
    time = ["-no_check_time"] if ever else []
    _ran("verify", "-no-CApath", "-no-CAstore", "-CAfile", authority_file, *time, stdin=certificate)


def _ran(*words: str, stdin: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CpkitError(f"openssl {words[0]} cannot be run: {error}") from error
    if done.returncode:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise CpkitError(f"openssl {words[0]}: {'; '.join(said[:2]) or 'it said nothing'}")
    return done.stdout
