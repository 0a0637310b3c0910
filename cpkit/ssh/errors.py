"""The ways a node can fail to answer over SSH, each told apart from the others."""

from cpkit.errors import Unreachable


class HostKeyUnknown(Unreachable):
    """The node's host key is pinned nowhere, so nothing was sent to it."""


class HostKeyChanged(Unreachable):
    """The node's host key is not the pinned one, so nothing was sent to it."""


class AuthenticationFailed(Unreachable):
    """The node accepted none of the user's keys."""


class SudoRefused(Unreachable):
    """The user may not become root on the node, or not with this password."""


class CommandTimeout(Unreachable):
    """A command did not end before its deadline, so what it did is unknown."""
