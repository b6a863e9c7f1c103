# First process of a lab host (pid 1 of its own pid namespace): gives it /run and /etc/docker of its own, then reaps
# whatever is left to it. Killing it is the power cut. Arguments: the host's folder, the MAC of its network card.
# /sys is the machine's, for the cgroups; what a /sys of this host would show as network cards is laid over the machine's.
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /etc/docker
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind "$1/etc-docker" /etc/docker
mkdir -p /run/cards/eth0/device
echo "$2" > /run/cards/eth0/address
mount --bind /run/cards /sys/class/net
: > "$1/up"
while :; do
  sleep 3600 &
  wait $! || :
done
