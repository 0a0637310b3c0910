"""The variables of what runs: the cluster as a whole, keys, etcd, the Kubernetes components and the balancers."""

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from cpkit.inventory.values import (
    audit_policy,
    dns_name,
    minor_text,
    name_or_address,
    pod_network,
    service_network,
    written,
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$")]
Flags = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], str]
Gates = dict[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")], bool]
San = Annotated[str, AfterValidator(name_or_address)]


class ControlPlaneSpec(BaseModel):
    """What runs on nodes and balancers, and how."""

    cluster_name: Annotated[Name, Field(description="Name of the cluster; also the etcd cluster token.")]
    cluster_endpoint: Annotated[
        str,
        Field(description="HOST or HOST:PORT every client uses. With load balancers, HOST is the VIP they share."),
    ]
    cluster_kubernetes_version: Annotated[
        str, Field(validate_default=True, description="Kubernetes version, as 1.36.3.")
    ] = ""
    cluster_emulated_version: Annotated[
        str,
        BeforeValidator(minor_text),
        Field(
            description="Minor that Kubernetes behaves like until an upgrade is finalized; none if empty.",
            examples=["1.35"],
        ),
    ] = ""
    cluster_etcd_version: Annotated[str, Field(description="etcd version; the table's own for the minor if empty.")] = (
        ""
    )
    cluster_service_cidr: Annotated[
        IPv4Network,
        BeforeValidator(written),
        AfterValidator(service_network),
        Field(description="Addresses of Services."),
    ] = IPv4Network("10.96.0.0/12")
    cluster_pod_cidr: Annotated[
        IPv4Network, BeforeValidator(written), AfterValidator(pod_network), Field(description="Addresses of Pods.")
    ] = IPv4Network("10.244.0.0/16")
    cluster_dns_domain: Annotated[str, AfterValidator(dns_name), Field(description="DNS domain of the cluster.")] = (
        "cluster.local"
    )
    cluster_extra_sans: Annotated[
        tuple[San, ...],
        Field(
            description="More names and addresses in the API server's certificate.",
            examples=[["k8s.example.org", "203.0.113.7"]],
        ),
    ] = ()
    cluster_feature_gates: Annotated[
        Gates, Field(description="Feature gates of all Kubernetes components.", examples=[{"SomeFeature": True}])
    ] = {}

    artifacts_source: Annotated[
        str,
        Field(
            description="Where binaries come from, auto or the mirror (directory, tar or URL) to use instead.",
            examples=["https://mirror.example.org/kubernetes", "/srv/cpkit-bundle"],
        ),
    ] = "auto"

    pki_key_type: Annotated[
        Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096"], Field(description="Kind of every private key.")
    ] = "ecdsa-p256"
    pki_ca_days: Annotated[int, Field(ge=1, le=36500, description="Lifetime of the three CAs, in days.")] = 3650
    pki_leaf_days: Annotated[int, Field(ge=1, le=3650, description="Lifetime of every leaf, in days.")] = 365
    renewal_at: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9 *,.:/~_+-]+$",
            description="When nodes look for due leaves (cpkit rotate-certs schedule), as systemd's OnCalendar.",
            examples=["daily", "Mon..Fri 10:00 Europe/Berlin"],
        ),
    ] = "daily"
    renewal_jitter_seconds: Annotated[
        int, Field(ge=0, le=86400, description="Seconds over which the nodes' own times of looking are spread.")
    ] = 7200
    renewal_metrics_dir: Annotated[
        str,
        Field(pattern="^(/.*)?$", description="Where a node exporter reads text files on the nodes; none if empty."),
    ] = "/var/lib/prometheus/node-exporter"

    etcd_data_dir: Annotated[str, Field(pattern="^/", description="etcd's data directory.")] = "/var/lib/etcd"
    etcd_quota_backend_bytes: Annotated[
        int, Field(ge=16 << 20, le=16 << 30, description="Size at which etcd stops taking writes.")
    ] = 8 << 30
    etcd_auto_compaction_retention: Annotated[
        str,
        Field(
            pattern=r"^([0-9]+|([0-9]+(\.[0-9]+)?(h|m|s))+)$",
            description="History etcd keeps (the API server compacts every 5 minutes by itself).",
        ),
    ] = "8h"
    etcd_heartbeat_interval_ms: Annotated[int, Field(ge=10, le=10000, description="Raft heartbeat.")] = 100
    etcd_election_timeout_ms: Annotated[
        int, Field(ge=50, le=50000, description="Raft election timeout; at least 5 heartbeats.")
    ] = 1000
    etcd_extra_args: Annotated[
        Flags, Field(description="More flags of etcd.", examples=[{"snapshot-count": "20000"}])
    ] = {}

    kube_apiserver_extra_args: Annotated[
        Flags, Field(description="More flags of kube-apiserver.", examples=[{"audit-log-maxage": "90", "v": "3"}])
    ] = {}
    kube_apiserver_audit_policy: Annotated[
        str,
        AfterValidator(audit_policy),
        Field(description="Audit policy (YAML text) to use instead of cpkit's own."),
    ] = ""
    kube_controller_manager_extra_args: Annotated[
        Flags, Field(description="More flags of kube-controller-manager.", examples=[{"node-monitor-period": "2s"}])
    ] = {}
    kube_scheduler_extra_args: Annotated[
        Flags, Field(description="More flags of kube-scheduler.", examples=[{"v": "3"}])
    ] = {}

    load_balancer_interface: Annotated[
        str, Field(description="Interface that carries the VIP; the one of the node's own address if empty.")
    ] = ""
    load_balancer_vip_prefix: Annotated[int, Field(ge=8, le=32, description="Prefix length of the VIP.")] = 32
    load_balancer_virtual_router_id: Annotated[int, Field(ge=1, le=255, description="VRRP virtual router ID.")] = 51
    load_balancer_algorithm: Annotated[
        Literal["roundrobin", "leastconn", "source"], Field(description="How HAProxy chooses an API server.")
    ] = "roundrobin"
    load_balancer_idle_timeout_seconds: Annotated[
        int,
        Field(ge=60, le=604800, description="Seconds without a byte after which HAProxy ends a connection."),
    ] = 14400
    load_balancer_max_connections: Annotated[
        int, Field(ge=0, le=1000000, description="Connections HAProxy takes at a time; 0 for what its limits allow.")
    ] = 0
