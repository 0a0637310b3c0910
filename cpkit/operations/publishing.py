"""What the cluster itself tells its clients of the CA: kube-root-ca.crt in every namespace, and cluster-info."""

import base64
import json
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote

from ruamel.yaml import YAML

from cpkit.errors import CpkitError, Unreachable
from cpkit.facts.edges import Account
from cpkit.inventory import Cluster
from cpkit.kubeconfig import with_authority
from cpkit.operations.access import read_from_any
from cpkit.operations.credentials import trusting
from cpkit.operations.listener import Listener
from cpkit.pki.authorities import PUBLIC_CERTIFICATES

ROOT = "kube-root-ca.crt"
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
PATIENCE = 10.0
BORN = 30.0  # seconds in which a new cluster makes its service accounts
EVERYWHERE = 120.0  # seconds until the controller manager has told every namespace; it may have to be elected first
POLL = 1.0
PAGE = 500
AGAIN = "Run the same command again: it goes on there."


@dataclass(frozen=True)
class Api:
    """The API as the administrators of the nodes see it now; each request reads their credentials anew."""

    cluster: Cluster

    def get(self, path: str) -> Any:
        """An object, or None where there is none."""
        return self._ask("GET", path)

    def patch(self, path: str, body: object) -> None:
        """Merge into an object."""
        self._ask("PATCH", path, body)

    def all(self, path: str) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        found: list[dict[str, Any]] = []
        more = ""
        while True:
            page = self.get(f"{path}{'&' if '?' in path else '?'}limit={PAGE}&continue={quote(more)}")
            found += page["items"]
            more = page["metadata"].get("continue", "")
            if not more:
                return found

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        admin = YAML(typ="safe").load(read_from_any(self.cluster, "/etc/kubernetes/admin.conf"))
        end = self.cluster.endpoint
        connection = HTTPSConnection(end.host, end.port, timeout=PATIENCE, context=trusting(admin))
        headers = {"Accept": "application/json", "Content-Type": "application/merge-patch+json"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise Unreachable(f"the API does not answer: {error}", hint="Look: cpkit health") from error
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status >= 300:
            raise CpkitError(f"{method} {path}: HTTP {answer.status}", hint="Look: cpkit health")
        return json.loads(text)


def account(api: Api, issuer: str) -> Account:
    """A service account for tokens that prove which keys are believed; Unreachable when the cluster never makes it."""
    deadline = time.monotonic() + BORN
    while not (found := api.get("/api/v1/namespaces/kube-system/serviceaccounts/default")):
        if time.monotonic() > deadline:
            hint = "The controller manager makes it. On the nodes: journalctl -u kube-controller-manager"
            raise Unreachable("kube-system has no service account named default, to prove keys with", hint=hint)
        time.sleep(POLL)
    return Account(issuer, "kube-system", "default", found["metadata"]["uid"])


def publish(api: Api, bundle: str, listener: Listener) -> None:
    """Wait until every namespace has the bundle, and put it into cluster-info; Unreachable when one never gets it."""
    deadline = time.monotonic() + EVERYWHERE
    while late := behind(api, bundle):
        if time.monotonic() > deadline:
            hint = f"The controller manager writes it. On the nodes: journalctl -u kube-controller-manager. {AGAIN}"
            raise Unreachable(f"{late[0]} and {len(late) - 1} more namespaces have not got the new {ROOT}", hint=hint)
        listener.status(f"{len(late)} namespaces have not got the new {ROOT} yet")
        time.sleep(POLL)
    _tell_joining(api, bundle)


def behind(api: Api, bundle: str) -> list[str]:
    """The namespaces whose pods would trust something else than the bundle."""
    wanted = certificates(bundle)
    told = {
        each["metadata"]["namespace"]: certificates(each["data"].get("ca.crt", ""))
        for each in api.all(f"/api/v1/configmaps?fieldSelector=metadata.name={ROOT}")
    }
    names = [
        each["metadata"]["name"]
        for each in api.all("/api/v1/namespaces")
        if each.get("status", {}).get("phase") != "Terminating"
    ]
    return [name for name in names if told.get(name) != wanted]


def _tell_joining(api: Api, bundle: str) -> None:
    """Kubeadm's workers learn the CA from cluster-info when they join; where there is none, nobody joins by it."""
    found = api.get(CLUSTER_INFO)
    text = (found or {}).get("data", {}).get("kubeconfig", "")
    if not text:
        return
    changed = with_authority(text, base64.b64encode(bundle.encode()).decode())
    if changed != text:
        api.patch(CLUSTER_INFO, {"data": {"kubeconfig": changed}})


def certificates(bundle: str) -> frozenset[str]:
    """The certificates of a bundle, whatever their order."""
    return frozenset(PUBLIC_CERTIFICATES.findall(bundle))
