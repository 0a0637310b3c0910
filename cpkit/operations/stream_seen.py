"""Whether anybody follows a cluster into its store: the last word of the newest stream there."""

import threading
from collections.abc import Callable

from cpkit.backup import Store, chain, open_store
from cpkit.backup.naming import parse
from cpkit.errors import CpkitError
from cpkit.facts.snapshot import Stream
from cpkit.inventory import ClusterSpec


def looking(spec: ClusterSpec, timeout: float) -> Callable[[], Stream | None]:
    """Begin to look into the inventory's store; what is returned waits for what was seen, until the time is over."""
    if not spec.backup_store:
        return lambda: None
    found: list[Stream | None] = []

    def look() -> None:
        try:
            with open_store(spec.backup_store) as store:
                found.append(last_word(store, spec.cluster_name))
        except CpkitError as error:
            found.append(Stream(error=error.message))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def seen() -> Stream | None:
        thread.join(timeout)
        return found[0] if found else Stream(error=f"the store did not answer within {timeout:g} s")

    return seen


def last_word(store: Store, cluster: str) -> Stream | None:
    """What the newest stream of a cluster says of itself; None when there is none."""
    bases = [item.name.removesuffix(chain.STATE) for item in store.list() if item.name.endswith(chain.STATE)]
    mine = [(told.created, base) for base in bases if (told := parse(base)) and told.cluster == cluster]
    if not mine:
        return None
    base = max(mine)[1]
    state = chain.read_state(store, base)
    if state is None:
        return None
    return Stream(base, state.owner, state.revision, state.until / 1000, state.ended)
