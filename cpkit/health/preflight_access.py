"""Whether every node can be looked into at all."""

from collections.abc import Callable

from cpkit.facts.preflight_snapshot import NodeState, PreflightSnapshot
from cpkit.health.check import fail, ok, unknown
from cpkit.health.preflight_verdict import Verdicts

# In the order they are tried: trouble with one says that those before it went well.
STEPS = ("ssh.reach", "ssh.host-key", "ssh.login", "python3", "become-password", "sudo", "facts")
# A node that answers and refuses is a failure; one that does not tell is unknown.
_DEFINITE = ("python3", "become-password", "sudo")


def _good(step: str, state: NodeState) -> str:
    ssh = state.node.ssh
    if step == "python3" and state.facts:
        return "Python " + ".".join(map(str, state.facts.python))
    return {
        "ssh.reach": f"{ssh.host}:{ssh.port} answers",
        "ssh.host-key": "the pinned key",
        "ssh.login": f"logged in as {ssh.user}",
        "python3": "found",
        "become-password": "not refused" if ssh.become_password else "none needed",
        "sudo": "root's rights" if ssh.become else "not asked for",
        "facts": "read",
    }[step]


def access(step: str) -> Callable[[PreflightSnapshot], Verdicts]:
    """The check of one step on the way into a node."""

    def check(snapshot: PreflightSnapshot) -> Verdicts:
        for state in snapshot.nodes:
            trouble = state.trouble
            if trouble is None or STEPS.index(trouble.check) > STEPS.index(step):
                yield ok(_good(step, state), node=state.name)
            elif trouble.check == step:
                verdict = fail if step in _DEFINITE else unknown
                yield verdict(trouble.text, trouble.hint, node=state.name)

    return check
