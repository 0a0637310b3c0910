"""Ansible module: make sure the administrators' group has its cluster role binding."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_binding
short_description: Bind C(kubeadm:cluster-admins) to C(cluster-admin) through the node's own API server
description:
  - The credential is given to TLS through an anonymous memory file; it never touches the node's disk.
options:
  certificate:
    description: Client certificate in C(system:masters), PEM.
    type: str
    required: true
  key:
    description: Its private key, PEM.
    type: str
    required: true
  authority:
    description: The cluster's CA certificate, PEM.
    type: str
    required: true
  server:
    description: The API server.
    type: str
    default: https://127.0.0.1:6443
author: cpkit
"""

EXAMPLES = r"""
- name: Bind the administrators' group
  cpkit_binding:
    certificate: "{{ certificate }}"
    key: "{{ key }}"
    authority: "{{ authority }}"
"""

RETURN = "# nothing besides changed"

import json
import os
import ssl
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

NAME = "kubeadm:cluster-admins"
PATH = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": NAME},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": NAME}],
}
DEADLINE = 20


def context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """A TLS context whose key was never in a file system."""
    made = ssl.create_default_context(cadata=authority)
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, (certificate + key).encode())
        made.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return made


def call(url: str, tls: ssl.SSLContext, body: dict[str, object] | None = None) -> int:
    """GET, or POST a body; the status code."""
    request = urllib.request.Request(  # noqa: S310 - our own URL
        url, data=json.dumps(body).encode() if body else None, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5, context=tls) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def ensure(server: str, tls: ssl.SSLContext, *, check_mode: bool) -> bool:
    """Create the binding unless it is there; whether it was missing. A server still warming up is asked again."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            code = call(f"{server}{PATH}/{NAME}", tls)
            if code == 404 and not check_mode:
                code = call(f"{server}{PATH}", tls, BINDING)
            if code in {200, 409}:
                return False
            if code in {201, 404}:
                return True
            reason = f"HTTP {code}"
        except OSError as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the API server did not take the binding of {NAME}: {reason}")
        time.sleep(0.2)


def main() -> None:
    """Make sure the binding is there."""
    module = AnsibleModule(
        argument_spec={
            "certificate": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "authority": {"type": "str", "required": True},
            "server": {"type": "str", "default": "https://127.0.0.1:6443"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    tls = context(wanted["certificate"], wanted["key"], wanted["authority"])
    try:
        module.exit_json(changed=ensure(wanted["server"], tls, check_mode=module.check_mode))
    except TimeoutError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
