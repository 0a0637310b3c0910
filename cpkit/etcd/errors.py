"""What can go wrong when a member is asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.errors import CpkitError, Exit


class EtcdError(CpkitError):
    """A call to an etcd member failed."""


class EtcdUnavailable(EtcdError):
    """The member cannot be reached, or says that it cannot serve at this moment; asking again may help."""

    code = Exit.UNKNOWN


class EtcdTimeout(EtcdError):
    """The member did not answer before the deadline, so what it did is unknown."""

    code = Exit.UNKNOWN


class EtcdRefused(EtcdError):
    """The member answered, and its answer is no."""


@contextmanager
def translated(node: str, timeout: float) -> Iterator[None]:
    """Turns gRPC's errors into these."""
    from cpkit.etcd import channel  # not before a member is asked: it imports gRPC

    try:
        yield
    except (channel.RpcError, ValueError) as error:
        raise channel.translate(error, node=node, timeout=timeout) from error
