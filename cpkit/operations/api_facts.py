"""What an upgrade has to know from the API: kubelets, old API versions in use, webhooks and CRDs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from cpkit.errors import CpkitError
from cpkit.inventory import Cluster, Node
from cpkit.operations.api import Api, through_endpoint
from cpkit.ssh import connect, fan_out
from cpkit.upgrade.outside import Outside, Requested, hooks_in, requested_in, stored_in

METRICS = 15.0  # seconds for all API servers to print their metrics
PORT = 6443
HOOKS = "/apis/admissionregistration.k8s.io/v1"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def api_facts(cluster: Cluster) -> tuple[Outside, tuple[str, ...]]:
    """What the API says, and a remark for each question that was not answered."""
    remarks: list[str] = []
    found: dict[str, Any] = {}
    questions: dict[str, tuple[str, Callable[[Api], Any]]] = {
        "kubelets": ("kubelets were", _kubelets),
        "hooks": ("webhooks were", _hooks),
        "stored": ("custom resources were", lambda api: tuple(stored_in(api.listed(DEFINITIONS)))),
        "requested": ("API versions in use were", lambda api: _requested(cluster, api)),
    }
    with _noting(remarks, "kubelets, webhooks and API versions in use were"):
        api = through_endpoint(cluster)
        for name, (what, question) in questions.items():
            with _noting(remarks, what):
                found[name] = question(api)
    return Outside(**found), tuple(remarks)


@contextmanager
def _noting(remarks: list[str], what: str) -> Iterator[None]:
    """Turn a question that was not answered into a remark."""
    try:
        yield
    except CpkitError as error:
        remarks.append(f"{what} not checked: {error.message}")
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        remarks.append(f"{what} not checked: {error}")


def _kubelets(api: Api) -> dict[str, str]:
    """Node -> the version of its kubelet, as 1.36.3."""
    nodes = api.listed("/api/v1/nodes")
    return {
        node["metadata"]["name"]: str(node["status"]["nodeInfo"]["kubeletVersion"]).removeprefix("v") for node in nodes
    }


def _hooks(api: Api) -> Any:
    kinds = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    configurations = [each for kind in kinds for each in api.listed(f"{HOOKS}/{kind}")]
    return tuple(hooks_in(configurations, api.listed(SLICES))) if configurations else ()


def _requested(cluster: Cluster, api: Api) -> tuple[Requested, ...]:
    """What each API server has been asked for; every one counts for itself."""

    def ask(node: Node) -> list[Requested]:
        with connect(node) as connection, connection.tunnel(PORT) as (host, port):
            return list(requested_in(Api(host, port, api.context).text("/metrics", patience=METRICS)))

    told = fan_out(cluster.control_plane, ask, deadline=METRICS)
    for each in told.values():
        if isinstance(each, CpkitError):
            raise each
    return tuple(sorted({one for each in told.values() if isinstance(each, list) for one in each}, key=str))
