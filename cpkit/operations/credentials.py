"""What an administrator trusts and shows, from a kubeconfig; no key touches a disk for that."""

import base64
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def trusting(admin: dict[str, Any]) -> ssl.SSLContext:
    """What a kubeconfig with embedded credentials trusts and shows."""
    cluster, user = admin["clusters"][0]["cluster"], admin["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with (
        _in_memory(base64.b64decode(user["client-certificate-data"])) as certificate,
        _in_memory(base64.b64decode(user["client-key-data"])) as key,
    ):
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that is in this process's memory alone."""
    file = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(file, data)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)
