"""What can go wrong when a member is asked."""

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
