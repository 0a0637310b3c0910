#!/bin/sh
# Turns a fresh Debian tree into a lab node. Arguments: this recipe's folder, the tree.
set -eu
recipe=$1
root=$2

cp -rT --no-preserve=mode,ownership "$recipe/rootfs" "$root"
chmod 0440 "$root/etc/sudoers.d/cpkit-lab"

chroot "$root" useradd --create-home --shell /bin/bash --groups adm,systemd-journal admin
chroot "$root" systemctl set-default multi-user.target
# Installed for the roles to configure, so not running before they do.
chroot "$root" systemctl disable haproxy.service keepalived.service
# Of no use in a container, or of effect on the host's kernel.
chroot "$root" systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target console-getty.service systemd-logind.service systemd-pstore.service systemd-binfmt.service \
    systemd-modules-load.service kmod-static-nodes.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-networkd-wait-online.service systemd-ask-password-wall.path systemd-ask-password-console.path \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount proc-sys-fs-binfmt_misc.automount
# Kernel settings are shared with the host, except for the node's own network: apply none of the distribution's.
mkdir -p "$root/etc/sysctl.d"
for file in "$root"/usr/lib/sysctl.d/*.conf; do
    ln -sf /dev/null "$root/etc/sysctl.d/${file##*/}"
done

# Made anew on every node.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
