# Says on every console why the machine is at the rescue prompt, as the boot server put it on the kernel's command line (flynn.why=, blanks
# are underscores). A machine that a person gave the prompt has no such word.
why=$(sed -n 's/.* flynn\.why=\([^ ]*\).*/\1/p' /proc/cmdline | tr _ ' ')
[ -n "$why" ] || exit 0
for console in $(cat /sys/class/tty/console/active); do
	printf '\r\nFlynn: %s\r\n\r\n' "$why" >"/dev/$console"
done
