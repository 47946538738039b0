#!/bin/sh
# First process of a host that boots: puts what is in $1/files over the machine's
# own root, mounts what a container manager would (Container Interface, systemd.io)
# and hands over to systemd. The journal is kept in $1/journal.
set -e
here=$1
root=$here/root
mount --make-rprivate /
mkdir -p "$here/layers" "$root" "$here/journal"
mount -t tmpfs layers "$here/layers"
mkdir "$here/layers/work"
cp -a "$here/files" "$here/layers/upper"
mount -t overlay -o "lowerdir=/,upperdir=$here/layers/upper,workdir=$here/layers/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/before"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir -p "$root/var/log/journal"
mount --bind "$here/journal" "$root/var/log/journal"
cd "$root"
pivot_root . run/before
umount -l /run/before
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
