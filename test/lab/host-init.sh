# First process of a lab host (pid 1 of its own pid namespace): gives it /run and /etc/docker of its own, then reaps
# whatever is left to it. Killing it is the power cut. Argument: the host's folder.
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /etc/docker
mount --bind "$1/etc-docker" /etc/docker
: > "$1/up"
while :; do
  sleep 3600 &
  wait $! || :
done
