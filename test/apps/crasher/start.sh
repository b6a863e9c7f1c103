# Says why on its last line and ends with code 3, every time.
echo "crasher: starting"
usleep 200000
echo "fatal: no database at db:5432" >&2
exit 3
