"""The variables an inventory may set, typed and documented once."""

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from cpkit.errors import CpkitError
from cpkit.inventory.values import (
    audit_policy,
    dns_name,
    minor_text,
    name_or_address,
    pod_network,
    recipient,
    service_network,
    store_location,
    written,
)
from cpkit.versions import Minor, Version, version_table

EMULATED_BEHIND = 3  # minors that Kubernetes can emulate back
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$")]
Flags = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], str]
Gates = dict[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")], bool]
San = Annotated[str, AfterValidator(name_or_address)]
Recipient = Annotated[str, AfterValidator(recipient)]


class ClusterSpec(BaseModel):
    """The variables of a cluster; each belongs to the role its prefix names, `cluster_` to all, `backup_` to none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            description="Where binaries come from, auto or the mirror (directory or URL) to use instead.",
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

    backup_store: Annotated[
        str,
        AfterValidator(store_location),
        Field(
            description="Where backups are kept: an absolute path on the operator's machine, or the URL of a store.",
            examples=[
                "/srv/backups",
                "sftp://backup@nas.example.org/srv/backups",
                "s3://backups/prod?endpoint=https://s3.example.org&region=eu-1",
            ],
        ),
    ] = ""
    backup_recipients: Annotated[
        tuple[Recipient, ...],
        Field(
            description="Public keys backups are sealed for (cpkit backup key makes one); several may open them.",
            examples=[["age1c5pxfq5evhgrn70sejxxvskwk52wvwtgdw923sfrvazqeallma3qx7y0p5"]],
        ),
    ] = ()
    backup_keep_last: Annotated[
        int, Field(ge=0, le=10000, description="How many of the newest backups pruning keeps.")
    ] = 0
    backup_keep_daily: Annotated[
        int, Field(ge=0, le=10000, description="Of how many days pruning keeps the newest backup.")
    ] = 0
    backup_keep_weekly: Annotated[
        int, Field(ge=0, le=10000, description="Of how many weeks pruning keeps the newest backup.")
    ] = 0
    backup_keep_monthly: Annotated[
        int, Field(ge=0, le=10000, description="Of how many months pruning keeps the newest backup.")
    ] = 0

    backup_schedule_at: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9 *,.:/~_+-]*$",
            description="When nodes take a backup by themselves, as systemd's OnCalendar, in UTC; never if empty.",
            examples=["hourly", "02:30", "Mon..Fri 22:00 Europe/Berlin"],
        ),
    ] = ""
    backup_schedule_jitter_seconds: Annotated[
        int, Field(ge=0, le=86400, description="Seconds by which a node at most waits longer, at random.")
    ] = 60
    backup_schedule_store: Annotated[
        str,
        AfterValidator(store_location),
        Field(
            description="Store of the nodes' own backups, a directory being one that all mount; backup_store if empty.",
            examples=["/mnt/backups", "sftp://backup@nas.example.org/srv/backups", "s3://backups/prod?region=eu-1"],
        ),
    ] = ""
    backup_schedule_ssh_key: Annotated[
        str,
        Field(pattern="^(/.*)?$", description="Private key on the nodes for an sftp:// store; root's own if empty."),
    ] = ""
    backup_schedule_s3_credentials: Annotated[
        str,
        Field(
            pattern="^([/~].*)?$",
            description="File on the operator's machine with what the nodes show to S3, made as ~/.aws/credentials is.",
            examples=["~/.aws/backup-of-prod"],
        ),
    ] = ""
    backup_schedule_metrics_dir: Annotated[
        str,
        Field(pattern="^(/.*)?$", description="Where a node exporter reads text files on the nodes; none if empty."),
    ] = "/var/lib/prometheus/node-exporter"

    @field_validator("cluster_kubernetes_version")
    @classmethod
    def _known_kubernetes(cls, value: str) -> str:
        table = version_table()
        if not value:
            return str(table.minors[table.default].kubernetes)
        _row(value)
        return str(Version.parse(value))

    @field_validator("cluster_etcd_version")
    @classmethod
    def _parsed_etcd(cls, value: str) -> str:
        return str(_parsed(value)) if value else ""

    @model_validator(mode="after")
    def _etcd_above_its_floor(self) -> "ClusterSpec":
        floor = _row(self.cluster_kubernetes_version).etcd_floor
        if self.etcd < floor:
            raise ValueError(f"cluster_etcd_version {self.etcd} is older than {floor}, the oldest supported one")
        return self

    @model_validator(mode="after")
    def _emulation_within_reach(self) -> "ClusterSpec":
        if self.cluster_emulated_version:
            major, minor = map(int, self.cluster_emulated_version.split("."))
            behind = self.kubernetes.minor - minor
            if major != self.kubernetes.major or not 1 <= behind <= EMULATED_BEHIND:
                raise ValueError(
                    f"Kubernetes {self.kubernetes} cannot emulate {self.cluster_emulated_version}: "
                    f"it must be 1 to {EMULATED_BEHIND} minors older"
                )
        for name in ("kube_apiserver", "kube_controller_manager", "kube_scheduler"):
            if "emulated-version" in getattr(self, f"{name}_extra_args"):
                raise ValueError(
                    f"emulated-version does not belong into {name}_extra_args: set cluster_emulated_version"
                )
        return self

    @model_validator(mode="after")
    def _timings_agree(self) -> "ClusterSpec":
        if self.etcd_election_timeout_ms < 5 * self.etcd_heartbeat_interval_ms:
            raise ValueError("etcd_election_timeout_ms must be at least 5 times etcd_heartbeat_interval_ms")
        return self

    @model_validator(mode="after")
    def _networks_apart(self) -> "ClusterSpec":
        if self.cluster_service_cidr.overlaps(self.cluster_pod_cidr):
            raise ValueError(
                f"cluster_service_cidr {self.cluster_service_cidr} overlaps cluster_pod_cidr {self.cluster_pod_cidr}"
            )
        return self

    @property
    def kubernetes(self) -> Version:
        """The Kubernetes version to run."""
        return Version.parse(self.cluster_kubernetes_version)

    @property
    def etcd(self) -> Version:
        """The etcd version to run."""
        if self.cluster_etcd_version:
            return Version.parse(self.cluster_etcd_version)
        return version_table().minor(self.kubernetes).etcd


def _parsed(text: str) -> Version:
    try:
        return Version.parse(text)
    except CpkitError as error:
        raise ValueError(_told(error)) from error


def _row(text: str) -> Minor:
    try:
        return version_table().minor(Version.parse(text))
    except CpkitError as error:
        raise ValueError(_told(error)) from error


def _told(error: CpkitError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message
