"""Labs as a whole: up, down and what there is."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cpkit.errors import CpkitError
from cpkit.lab import store
from cpkit.lab.engine import LAB_LABEL, Engine, engine_errors, find_engine, insist
from cpkit.lab.image import ensure_image, remove_images
from cpkit.lab.layout import Layout, Machine, Sizes, checked_name, grown, new_layout
from cpkit.lab.machines import bring_up, containers, lab_labels, remove_remnants, to_make

# (what it concerns: a machine's name, `image` or the lab itself; what is happening to it)
Progress = Callable[[str, str], None]
_WAITING = "waiting for another lab command to end"


@dataclass(frozen=True)
class Seen:
    """A machine and the state its container is in; `missing` when there is none."""

    machine: Machine
    state: str


@dataclass(frozen=True)
class Lab:
    """A lab and the state of its machines."""

    layout: Layout
    machines: tuple[Seen, ...]


@dataclass(frozen=True)
class Raised:
    """The outcome of `up`: the lab, and the machines it made or started."""

    layout: Layout
    changed: tuple[str, ...]


def up(name: str, sizes: Sizes, progress: Progress) -> Raised:
    """Make or complete a lab, so that every machine runs and takes SSH; does nothing to what already does."""
    checked_name(name)
    engine = find_engine()
    with store.exclusive(lambda: progress(name, _WAITING)):
        before = store.load_layout(name)
        found = containers(engine, name)
        if found and not before:
            raise CpkitError(
                f"lab {name!r} has containers, but its keys are not on this machine",
                hint=f"Remove what is left of it: cpkit lab down {name}",
            )
        layout = grown(before, sizes) if before else new_layout(name, store.free_number(name), sizes)
        needs_image = any(to_make(found.get(machine.name)) for machine in layout.machines)
        image = ensure_image(engine, lambda text: progress("image", text)) if needs_image else ""
        store.save(layout, new_variables=sizes.kubernetes_version is not None)
        _ensure_network(engine, layout)

        def work(machine: Machine) -> bool:
            return bring_up(
                engine, layout, machine, image, found.get(machine.name), lambda text: progress(machine.name, text)
            )

        changed = on_each(layout.machines, work)
    return Raised(layout, tuple(machine.name for machine, did in changed.items() if did))


def down(name: str, progress: Progress) -> bool:
    """Leave nothing of a lab: containers, network, keys, inventory; False when there was nothing."""
    engine = find_engine()
    network = f"cpkit-{checked_name(name)}"
    with store.exclusive(lambda: progress(name, _WAITING)):
        found = list(containers(engine, name).values())
        existed = bool(found) or store.lab_dir(name).exists() or engine.client.network.exists(network)
        with engine_errors("removing the lab", hint=f"Run it again: cpkit lab down {name}"):
            running = [container for container in found if container.state.status == "running"]
            if running:
                engine.client.container.kill(running)
            if found:
                insist(lambda: engine.client.container.remove(found, force=True, volumes=True))
            remove_remnants(engine, name)
            if engine.client.network.exists(network):
                insist(lambda: engine.client.network.remove(network))
        store.forget(name)
    return existed


def all_names() -> tuple[str, ...]:
    """Every lab there is anything of, in this machine's state or in the engine's."""
    return tuple(sorted({*store.lab_names(), *lab_labels(find_engine())}))


def remove_base_images() -> int:
    """Remove the cached base images and say how many there were."""
    return remove_images(find_engine())


def labs() -> tuple[Lab, ...]:
    """Every lab and the state of its machines."""
    names = store.lab_names()
    if not names:
        return ()
    return tuple(inspect(name) for name in names)


def inspect(name: str) -> Lab:
    """One lab and the state of its machines."""
    layout = store.known_layout(name)
    found = containers(find_engine(), name)
    states = {machine: container.state.status for machine, container in found.items()}
    return Lab(layout, tuple(Seen(machine, states.get(machine.name, "missing")) for machine in layout.machines))


def _ensure_network(engine: Engine, layout: Layout) -> None:
    if engine.client.network.exists(layout.network_name):
        return
    if layout.number in store.routed_numbers(Path("/proc/net/route").read_text()):
        raise CpkitError(
            f"this host already routes {layout.network} elsewhere", hint=f"See where: ip route show {layout.network}"
        )
    with engine_errors(f"making the network {layout.network}", hint="Does another network here use these addresses?"):
        engine.client.network.create(
            layout.network_name,
            subnet=str(layout.network),
            gateway=str(layout.network[1]),
            labels={LAB_LABEL: layout.name},
        )


def on_each(machines: tuple[Machine, ...], work: Callable[[Machine], bool]) -> dict[Machine, bool]:
    """The result of work on every machine, all at once; one CpkitError that tells all failures."""
    with ThreadPoolExecutor(max_workers=max(1, len(machines))) as pool:
        futures = {machine: pool.submit(work, machine) for machine in machines}
    errors = [error for future in futures.values() if (error := future.exception())]
    for error in errors:
        if not isinstance(error, CpkitError):
            raise error
    failures = [error for error in errors if isinstance(error, CpkitError)]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise CpkitError("; ".join(map(str, failures)), hint=failures[0].hint)
    return {machine: future.result() for machine, future in futures.items()}
