"""Whether a cluster that exists still has what makes it this cluster: the data of every etcd member."""

from collections.abc import Mapping

from cpkit.errors import Refused


def refuse_lost_data(held: Mapping[str, bool], *, established: bool) -> None:
    """Raise Refused, naming the nodes, when etcd's data is gone from a node of a cluster that was up once.

    A member that starts anew under its old name has forgotten what it voted for, so it may cost the others' writes.
    `established` is whether any node had an API server set up, which happens only once etcd was up on all of them.
    """
    lost = sorted(name for name, has in held.items() if not has)
    if not established or not lost:
        return
    if len(lost) == len(held):
        raise Refused(
            "the cluster exists, but etcd's data is gone from all of its nodes",
            hint="Are their disks mounted? An empty cluster is not started in its place. Put the data back.",
        )
    raise Refused(
        f"the cluster exists, but etcd's data is gone from this node{_also(lost[1:])}",
        node=lost[0],
        hint="Is its disk mounted? An empty member is not started in its place, as that could cost the cluster\n"
        "  its data. Put the data back; if it is lost, the others go on meanwhile: cpkit node replace "
        f"{lost[0]}",
    )


def _also(names: list[str]) -> str:
    return f" (and from {', '.join(names)})" if names else ""
