"""Reading a restored cluster through its API, as it was at the backup's revision."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cpkit.backup.errors import BackupError, FailedDrill
from cpkit.backup.sandbox.credentials import SERVER

if TYPE_CHECKING:
    import httpx

PAGE = 500
CALL = 60.0
# To a client on loopback that names nobody, an API server shows a certificate of its own making.
BY_NAME = {"sni_hostname": SERVER}
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
UNSTORED = ("componentstatuses",)  # made up when they are asked for
CACHES = ("informer-sync", "poststarthook/storage-readiness")
Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A resource that the API serves, in the version it prefers."""

    group: str
    version: str
    name: str  # plural
    kind: str
    singular: str
    short: tuple[str, ...]
    namespaced: bool

    @property
    def full(self) -> str:
        """Its name with its group."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "") -> str:
        """Where it is served."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.name}" if namespace else f"{root}/{self.name}"


def load_client() -> None:
    """Import all that a client needs, before anything is started that an interrupt has to end.

    Python tells an interrupt that strikes within an import in its own words, or ends by the signal.
    """
    import httpx

    httpx.Client(verify=False, trust_env=False).close()  # noqa: S501 - it never connects


class Api:
    """The API of a sandbox; what it cannot read, it says in words."""

    def __init__(self, url: str, *, authority: str, certificate: str, key: str) -> None:
        import httpx

        context = ssl.create_default_context(cadata=authority)
        context.load_cert_chain(certificate, key)
        self._client = httpx.Client(base_url=url, verify=context, timeout=CALL, trust_env=False)
        self._failed = httpx.HTTPError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def serves(self) -> bool:
        """Whether it answers what it is asked; some of its caches may still be empty, or stay so."""
        return self._says("/readyz", exclude=CACHES)

    def ready(self) -> bool:
        """Whether everything in it is ready; it never is with keys that do not open the Secrets."""
        return self._says("/readyz")

    def resources(self) -> tuple[Resource, ...]:
        """Everything that can be listed, each in the version preferred, groups in the API's own order."""
        found: dict[tuple[str, str], Resource] = {}
        for root in ("/api", "/apis"):
            for group in self._get(root, accept=DISCOVERY)["items"]:
                for version in group["versions"]:
                    for resource in _listable(group, version):
                        found.setdefault((resource.group, resource.name), resource)
        return tuple(found.values())

    def count(self, resource: Resource, revision: int) -> int:
        """How many objects there are of a resource."""
        page = self._page(resource, revision, limit="1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    def list(self, resource: Resource, revision: int, *, namespace: str = "", name: str = "") -> Iterator[Object]:
        """Objects of a resource, page by page; of one namespace or name, if told."""
        selector = {"fieldSelector": f"metadata.name={name}"} if name else {}
        following = ""
        while True:
            # A page after the first is of the first one's revision by itself.
            extra = {"continue": following} if following else selector
            page = self._page(resource, 0 if following else revision, namespace=namespace, limit=str(PAGE), **extra)
            for each in page["items"]:
                yield {"apiVersion": resource.api_version, "kind": resource.kind, **each}
            following = page["metadata"].get("continue", "")
            if not following:
                return

    def _says(self, path: str, **query: tuple[str, ...]) -> bool:
        try:
            return self._client.get(path, params=query, timeout=5.0, extensions=BY_NAME).is_success
        except self._failed:
            return False

    def _page(self, resource: Resource, revision: int, *, namespace: str = "", **query: str) -> Object:
        exact = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"} if revision else {}
        return self._get(resource.path(namespace), query=exact | query, what=resource.full)

    def _get(
        self, path: str, *, query: dict[str, str] | None = None, accept: str = "application/json", what: str = ""
    ) -> Object:
        what = what or path
        try:
            answer: httpx.Response = self._client.get(
                path, params=query, headers={"Accept": accept}, extensions=BY_NAME
            )
            body: Object = answer.json()
        except (self._failed, ValueError) as error:
            raise BackupError(f"{what} cannot be read from the restored API: {error}") from error
        if not answer.is_success:
            raise FailedDrill(f"{what} cannot be read from the restored API: {body.get('message', answer.status_code)}")
        return body


def _listable(group: Object, version: Object) -> Iterator[Resource]:
    for each in version["resources"]:
        if "list" in each["verbs"] and each["resource"] not in UNSTORED:
            yield Resource(
                group["metadata"].get("name", ""),
                version["version"],
                each["resource"],
                each["responseKind"]["kind"],
                each.get("singularResource", ""),
                tuple(each.get("shortNames", ())),
                each["scope"] == "Namespaced",
            )
