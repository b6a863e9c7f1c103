# Answers "Hello from <app> <job>" on / as plain text, `ok` on /health and, after two seconds, on /cgi-bin/slow.
# The GREETING variable replaces "Hello". Ends at SIGTERM within a second, answers in flight first.
mkdir -p /tmp/www/cgi-bin
printf '%s from %s %s\n' "${GREETING:-Hello}" "${FLYNN_APP:-hello}" "${FLYNN_JOB:-nobody}" >/tmp/www/index.html
echo ok >/tmp/www/health
printf '#!/bin/busybox sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nsleep 2\necho ok slowly\n' >/tmp/www/cgi-bin/slow
chmod +x /tmp/www/cgi-bin/slow
printf '.html:text/plain\n' >/tmp/httpd.conf
sleep "${START_DELAY_SECONDS:-0}"
httpd -f -p "0.0.0.0:${PORT:-8080}" -h /tmp/www -c /tmp/httpd.conf &
server=$!
stop() {
  kill "$server"
  while pgrep -f /tmp/www/cgi-bin/slow >/dev/null; do usleep 50000; done
  echo stopped
  exit 0
}
trap stop TERM INT
echo "listening on ${PORT:-8080}"
wait "$server"
