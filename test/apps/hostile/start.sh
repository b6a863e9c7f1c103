# Tries to reach what it should not: every `name,address,port` of TARGETS, by TCP. Then to be somebody else on its network. Says of each
# whether it worked. With a PORT it serves meanwhile, as hello does; without one, in a build, it ends.
attempt() {
  for target in $TARGETS; do
    rest=${target#*,}
    name=${target%%,*}
    answer=$( (printf 'GET /reached HTTP/1.0\r\n\r\n'; sleep 1) | busybox nc -w 2 "${rest%,*}" "${rest#*,}" 2>/dev/null) && answer=reached
    echo "hostile: $name: ${answer:-refused}"
  done
  busybox ip addr add 100.64.0.250/16 dev eth0 2>/dev/null && echo "hostile: another address: taken" || echo "hostile: another address: refused"
  busybox ip link set dev eth0 address 02:42:64:40:00:fa 2>/dev/null && echo "hostile: another card: taken" || echo "hostile: another card: refused"
  echo "hostile: done"
}
if [ -z "${PORT:-}" ]; then
  attempt
else
  attempt &
  exec sh /app/hello.sh
fi
