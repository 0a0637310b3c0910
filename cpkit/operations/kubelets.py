"""The kubelets of the cluster's Nodes, read through the API; no key touches a disk for that."""

import base64
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote

from ruamel.yaml import YAML

from cpkit.errors import CpkitError
from cpkit.inventory import Cluster
from cpkit.operations.access import read_from_any

PATIENCE = 5.0  # seconds a request may take
PAGE = 500


def kubelets(cluster: Cluster) -> dict[str, str]:
    """Node -> the version of its kubelet, as 1.36.3; CpkitError when the API does not tell."""
    admin = YAML(typ="safe").load(read_from_any(cluster, "/etc/kubernetes/admin.conf"))
    found: dict[str, str] = {}
    try:
        context = trusting(admin)
        more = ""
        while True:
            page = _ask(cluster, context, f"/api/v1/nodes?limit={PAGE}&continue={quote(more)}")
            for node in page["items"]:
                found[node["metadata"]["name"]] = str(node["status"]["nodeInfo"]["kubeletVersion"]).removeprefix("v")
            more = page["metadata"].get("continue", "")
            if not more:
                return found
    except (OSError, HTTPException, ValueError, KeyError) as error:
        raise CpkitError(f"the Nodes cannot be listed: {error}", hint="Look: cpkit health") from error


def _ask(cluster: Cluster, context: ssl.SSLContext, path: str) -> dict[str, Any]:
    connection = HTTPSConnection(cluster.endpoint.host, cluster.endpoint.port, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status}")
    page: dict[str, Any] = json.loads(body)
    return page


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
