"""Look into a backup: what it holds, and single objects."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from cpkit.backup.errors import BackupError, FailedDrill
from cpkit.backup.sandbox import Api, Object, Resource
from cpkit.errors import UsageError
from cpkit.operations.listener import Listener
from cpkit.operations.sandbox import Asked, encryption_of, restored, served

CUSTOM = "customresourcedefinitions.apiextensions.k8s.io"
KNOWN = 20.0  # seconds until an API server serves the custom resources too
POLL = 0.1
UNREADABLE = "the backup holds no encryption keys, so what is encrypted in it cannot be read"


@dataclass(frozen=True)
class Opened:
    """A backup that is served."""

    api: Api
    revision: int
    resources: tuple[Resource, ...]

    def find(self, name: str) -> Resource:
        """A resource by any of the names that kubectl takes; UsageError when there is none."""
        for resource in self.resources:
            if name.lower() in names(resource):
                return resource
        known = sorted({each for resource in self.resources for each in names(resource)})
        near = get_close_matches(name.lower(), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "What there is: cpkit backup browse"
        raise UsageError(f"the backup's API has no resource {name!r}", hint=hint)

    def counts(self) -> tuple[tuple[Resource, int | None], ...]:
        """How many objects of each resource there are, if any; None where the backup's keys do not open them."""
        counted = ((resource, self._count(resource)) for resource in self.resources)
        return tuple((resource, number) for resource, number in counted if number != 0)

    def _count(self, resource: Resource) -> int | None:
        try:
            return self.api.count(resource, self.revision)
        except FailedDrill:
            return None

    def objects(self, resource: Resource, *, namespace: str = "", name: str = "") -> Iterator[Object]:
        """Objects of a resource as they were."""
        return self.api.list(resource, self.revision, namespace=namespace, name=name)


def names(resource: Resource) -> frozenset[str]:
    """What a resource may be called, in small letters."""
    plain = {resource.name, resource.singular, resource.kind.lower(), *resource.short} - {""}
    return frozenset({*plain, *(f"{name}.{resource.group}" for name in plain if resource.group)})


@contextmanager
def opened(asked: Asked, listener: Listener) -> Iterator[Opened]:
    """A backup served by a sandbox, as it was at its revision."""
    with restored(asked, listener) as found:
        if encryption_of(found.bundle) is None:
            listener.say(UNREADABLE)
        with served(found) as api:
            revision = found.manifest.revision
            yield Opened(api, revision, _known(api, revision, listener))


def _known(api: Api, revision: int, listener: Listener) -> tuple[Resource, ...]:
    """The resources that are served, when those that the cluster defined itself are among them."""
    deadline = time.monotonic() + KNOWN
    resources = api.resources()
    definition = next((each for each in resources if each.full == CUSTOM), None)
    wanted = {name for each in api.list(definition, revision) for name in _served(each)} if definition else set()
    while missing := wanted - {each.full for each in resources}:
        if time.monotonic() > deadline:
            listener.say(f"not served, so not shown: {', '.join(sorted(missing))}")
            break
        time.sleep(POLL)
        resources = api.resources()
    return resources


def _served(definition: Object) -> Iterator[str]:
    conditions = definition.get("status", {}).get("conditions") or ()
    established = any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
    if established and any(version["served"] for version in definition["spec"]["versions"]):
        yield definition["metadata"]["name"]


def single(opened: Opened, resource: Resource, namespace: str, name: str) -> Object:
    """One object; BackupError when there is none."""
    for found in opened.objects(resource, namespace=namespace, name=name):
        return found
    where = f" in namespace {namespace}" if namespace else ""
    raise BackupError(
        f"the backup holds no {resource.full}/{name}{where}", hint=f"See: cpkit backup browse {resource.full}"
    )
