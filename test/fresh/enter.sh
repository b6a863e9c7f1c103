#!/bin/sh
# First process of the fresh root's pid namespace: makes the folder the root of its mount namespace (a chroot would not do: who joins
# the namespace would be outside of it), with kernel file systems, and runs the rest of its arguments there to their end. Arguments: folder, program...
set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
rmdir /.outside
cd /root/flynn
# It stays, since orphans of the namespace are its to reap, and hands on what ends it.
"$@" &
child=$!
stopping=
trap 'stopping=yes; kill -TERM "$child" 2>/dev/null' TERM INT HUP
while :; do
  code=0
  wait "$child" || code=$?
  # A signal ends the wait, not the program, whose own exit code comes with the next.
  if [ -n "$stopping" ] && [ "$code" -gt 128 ]; then
    stopping=
    continue
  fi
  exit "$code"
done
