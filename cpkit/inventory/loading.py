"""From an inventory on disk to a validated cluster, with every problem told at once."""

import re
from pathlib import Path
from typing import get_args

from cpkit.inventory.checks import check_count, check_endpoint, check_networks, check_unique
from cpkit.inventory.cluster import Cluster, Endpoint, Node, Role
from cpkit.inventory.complaints import FIELDS
from cpkit.inventory.document import read
from cpkit.inventory.hosts import Listing, Settings, list_hosts
from cpkit.inventory.locate import hosts_file
from cpkit.inventory.problems import InvalidInventory, Place, Problem, Problems
from cpkit.inventory.reach import Reader
from cpkit.inventory.validation import agreed, validated
from cpkit.inventory.values import endpoint as parse_endpoint
from cpkit.inventory.variables import Variables, refuse_unknown

KNOWN = (*FIELDS, "node_address")
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def load(path_or_name: str | Path) -> Cluster:
    """Read and check an inventory; InvalidInventory lists every problem with its file and line."""
    hosts = hosts_file(path_or_name)
    try:
        return _load(hosts)
    except OSError as error:
        place = Place(Path(str(error.filename or hosts)))
        raise InvalidInventory(hosts, [Problem(place, f"cannot be read: {error.strerror or error}")]) from error
    except RecursionError as error:
        raise InvalidInventory(hosts, [Problem(Place(hosts), "is nested too deeply")]) from error


def _load(hosts: Path) -> Cluster:
    problems = Problems(hosts)
    listing = list_hosts(read(hosts, problems), problems)
    every = Variables(listing, problems)
    problems.stop_if_any()  # half of a file read would bring up complaints about the other half

    members = {role: listing.members(role) for role in get_args(Role)}
    check_count(len(members["control_plane"]), _group_place(listing, "control_plane"), problems)
    variables = {name: every.of(name) for names in members.values() for name in names}
    refuse_unknown(every.everything(variables), KNOWN, problems)
    nodes = _nodes(listing, members, variables, problems)
    check_unique(nodes, listing.places, problems)

    settings = agreed(variables, members["load_balancer"], problems)
    cluster = _cluster(hosts, settings, nodes, problems)
    problems.stop_if_any()
    return cluster


def _nodes(
    listing: Listing, members: dict[Role, list[str]], variables: dict[str, Settings], problems: Problems
) -> list[Node]:
    nodes: list[Node] = []
    for role, names in members.items():
        for name in names:
            place = listing.places[name]
            if any(node.name == name for node in nodes):
                problems.add(place, f"{name} is in both groups; a load balancer needs a machine of its own")
                continue
            if not _NODE_NAME.fullmatch(name):
                problems.add(place, f"{name!r} cannot name a node; use a-z, 0-9, - and . as in host names")
            nodes.append(Reader(name, place, variables[name], problems).node(role))
    return nodes


def _cluster(hosts: Path, settings: Settings, nodes: list[Node], problems: Problems) -> Cluster:
    everywhere = hosts.parent / "group_vars" / "all.yml"
    missing = Place(everywhere if everywhere.is_file() else hosts)

    def where(name: str) -> Place:
        return settings[name].place() if name in settings else missing

    spec, wrong = validated(settings, missing, problems)
    try:
        endpoint = Endpoint(*parse_endpoint(spec.cluster_endpoint))
    except ValueError as error:
        problems.add(where("cluster_endpoint"), f"cluster_endpoint {error}")
        wrong |= {"cluster_endpoint"}
        endpoint = Endpoint("unnamed.invalid")
    control_plane = tuple(node for node in nodes if node.role == "control_plane")
    balancers = tuple(node for node in nodes if node.role == "load_balancer")
    if "cluster_endpoint" not in wrong:
        check_endpoint(endpoint, control_plane, balancers, where("cluster_endpoint"), problems)
    check_networks(spec, nodes, endpoint, where, problems)
    return Cluster(hosts, spec, control_plane, balancers, endpoint)


def _group_place(listing: Listing, name: str) -> Place:
    return listing.groups[name].place if name in listing.groups else listing.document.place()
