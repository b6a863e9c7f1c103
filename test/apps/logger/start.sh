# Writes `line 0`, `line 1`, ... one every LOG_INTERVAL_MICROSECONDS (default 100 ms), LOG_LINES of them (default no end), and
# listens as the hello app does.
(
  n=0
  while [ "$n" -lt "${LOG_LINES:-1000000000}" ]; do
    echo "line $n"
    n=$((n + 1))
    usleep "${LOG_INTERVAL_MICROSECONDS:-100000}"
  done
) &
exec busybox sh /app/hello.sh
