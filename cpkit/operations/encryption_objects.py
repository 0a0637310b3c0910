"""The objects of a rotation of the encryption key, by etcd's raw bytes: counted by their key, and rewritten."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from cpkit import etcd
from cpkit.errors import CpkitError, Unreachable
from cpkit.facts import member
from cpkit.facts.encryption import counts
from cpkit.inventory import Cluster
from cpkit.operations.rewriting import Rewriter
from cpkit.pki.encryption import Rotation

TRIES = 3  # of rewriting, when the member that lists the objects is lost meanwhile


def counted(cluster: Cluster, resources: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    """At one revision that a quorum agreed on."""
    with _any_member(cluster) as client:
        return counts(client, resources, client.probe())


def stale(stored: Mapping[str, Mapping[str, int]], plan: Rotation) -> int:
    """How many objects are under another key than the new one."""
    return sum(number for names in stored.values() for name, number in names.items() if name != plan.new.name)


def rewrite(rewriter: Rewriter, cluster: Cluster, resources: tuple[str, ...], say: Callable[[str], None]) -> None:
    """What is rewritten already costs nothing, so when the member that lists is lost, another one begins anew."""
    for attempt in range(TRIES):
        try:
            with _any_member(cluster) as client:
                for resource in resources:
                    rewriter.rewrite(client, resource)
        except (Unreachable, etcd.EtcdUnavailable, etcd.EtcdTimeout) as error:
            if attempt == TRIES - 1:
                raise
            say(f"{error}; going on with another member")
        else:
            return


@contextmanager
def _any_member(cluster: Cluster) -> Iterator[etcd.MemberClient]:
    """The first member that serves linearizable reads."""
    first: CpkitError | None = None
    for node in cluster.control_plane:
        with ExitStack() as stack:
            try:
                client = stack.enter_context(member.open_member(node, timeout=30.0))
                client.probe(timeout=5.0)
            except CpkitError as error:
                first = first or error
                continue
            yield client
            return
    raise first or CpkitError("the cluster has no control-plane node")
