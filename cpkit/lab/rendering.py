"""The inventory of a lab as text; pure, so that the committed inventories can be held to it."""

from collections.abc import Mapping

from cpkit.lab.layout import Layout, MachineRole

SSH_USER = "admin"


def hosts_yml(layout: Layout) -> str:
    """The text of hosts.yml."""
    lines = [f"# Written by `cpkit lab up {layout.name}`.", "all:", "  children:"]
    groups: list[MachineRole] = ["control_plane", "load_balancer"]
    if layout.spares:
        groups.append("spare")
    for group in groups:
        members = [machine for machine in layout.machines if machine.role == group]
        lines += [f"    {group}:", "      hosts:" if members else "      hosts: {}"]
        lines += [f"        {member.name}: {{ansible_host: {member.address}}}" for member in members]
    return "\n".join(lines) + "\n"


def all_yml(layout: Layout, directory: str) -> str:
    """The text of group_vars/all.yml; directory is where the lab's keys are, as the operator would write it."""
    version = f'cluster_kubernetes_version: "{layout.kubernetes_version}"\n' if layout.kubernetes_version else ""
    return (
        f"# Written by `cpkit lab up {layout.name}`.\n"
        f"cluster_name: {layout.name}\n"
        f"cluster_endpoint: {layout.vip}:6443\n"
        f"{version}"
        "\n"
        f"ansible_user: {SSH_USER}\n"
        "ansible_become: true\n"
        "ansible_python_interpreter: /usr/bin/python3\n"
        f"ansible_ssh_private_key_file: {directory}/id_ed25519\n"
        "ansible_ssh_common_args: >-\n"
        f"  -o UserKnownHostsFile={directory}/inventory/known_hosts\n"
        "  -o StrictHostKeyChecking=yes\n"
    )


def known_hosts(layout: Layout, public_keys: Mapping[str, str]) -> str:
    """The text of known_hosts, from the public host key of each machine by name."""
    return "".join(f"{machine.address} {public_keys[machine.name]}\n" for machine in layout.machines)
