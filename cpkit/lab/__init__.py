"""Labs: containers that boot systemd and take SSH, so that a cluster can be tried on one machine."""

from cpkit.lab.faults import heal, partition, pause, start, stop, target, unpause
from cpkit.lab.layout import DEFAULT_LAB, Layout, Machine, Sizes
from cpkit.lab.lifecycle import Lab, Raised, all_names, down, inspect, labs, remove_base_images, up
from cpkit.lab.ssh_command import ssh_command
from cpkit.lab.store import inventory_dir, known_layout, lab_dir

__all__ = [
    "DEFAULT_LAB",
    "Lab",
    "Layout",
    "Machine",
    "Raised",
    "Sizes",
    "all_names",
    "down",
    "heal",
    "inspect",
    "inventory_dir",
    "known_layout",
    "lab_dir",
    "labs",
    "partition",
    "pause",
    "remove_base_images",
    "ssh_command",
    "start",
    "stop",
    "target",
    "unpause",
    "up",
]
