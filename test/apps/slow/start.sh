# The hello app, listening only after three seconds.
export START_DELAY_SECONDS=3
exec busybox sh /app/hello.sh
