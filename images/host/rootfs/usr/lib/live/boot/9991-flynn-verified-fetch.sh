#!/bin/sh
# Replaces live-boot's network part: brings one port up, fetches the root image, and mounts nothing whose size and
# sha256 differ from what this initrd carries in image.conf (written by images/host/segment.ts). Sourced by live-boot
# after its own 9990-* files, so these definitions win. Runs under busybox ash; the tests run it under dash.

FLYNN_IMAGE_CONF="${FLYNN_IMAGE_CONF:-/etc/flynn/image.conf}"
FLYNN_FETCH_TRIES="${FLYNN_FETCH_TRIES:-8}"
FLYNN_RETRY_S="${FLYNN_RETRY_S:-5}"
FLYNN_WATCH_S="${FLYNN_WATCH_S:-5}"
FLYNN_STALL_S="${FLYNN_STALL_S:-60}"
# A host beside it gives this much in this time, or is left for the boot server.
FLYNN_PEER_S="${FLYNN_PEER_S:-15}"
FLYNN_PEER_BYTES="${FLYNN_PEER_BYTES:-$((FLYNN_PEER_S * 262144))}"
FLYNN_DATE="${FLYNN_DATE:-date}"
FLYNN_ASK_TRIES="${FLYNN_ASK_TRIES:-24}"
FLYNN_TOLD_CMDLINE="${FLYNN_TOLD_CMDLINE:-/run/flynn-cmdline}"
# Stands for a root URL that is asked for (images/host/uki.ts).
FLYNN_ASKED="http://boot-server/root.squashfs"
FLYNN_PID_FILE="${FLYNN_PID_FILE:-/run/flynn-fetch.pid}"
# What GRUB loaded from an installed disk beside this initrd (hostd/install): the root image and the seed.
FLYNN_LOADED="${FLYNN_LOADED:-/flynn-slot}"
FLYNN_SEED="${FLYNN_SEED:-/run/flynn-seed}"

# stdout is the last console of the kernel's list; the others (a screen beside a serial line) are written to as well.
flynn_others ()
{
	flynn_consoles="$(cat "${FLYNN_CONSOLES:-/sys/class/tty/console/active}" 2>/dev/null)"
	case "${flynn_consoles}" in
		*" "*) ;;
		*) return 0 ;;
	esac
	for flynn_tty in ${flynn_consoles% *}
	do
		{ echo "$*" > "${FLYNN_DEV:-/dev}/${flynn_tty}"; } 2>/dev/null || :
	done
}

flynn_say ()
{
	echo "flynn: $*"
	flynn_others "flynn: $*"
}

# Tells the boot server why this boot ends, with the token that its own seed has, or where its inventory would go: CODE TEXT. It is on
# the timeline then.
flynn_report ()
{
	flynn_seed="$(sed -n 's,^.*flynn\.inventory=\(http://[^ ]*/i/[A-Za-z0-9_-]*\).*$,\1/refused,p' "${FLYNN_CMDLINE:-/proc/cmdline}")"
	[ -n "${flynn_seed}" ] || flynn_seed="$(sed -n 's,^.*ds=nocloud-net;s=\(http://[^/ ]*\)/s/\([A-Za-z0-9_-]*\)/.*$,\1/e/\2/refused,p' "${FLYNN_CMDLINE:-/proc/cmdline}")"
	[ -n "${flynn_seed}" ] && [ -n "${flynn_is_up}" ] || return 0
	timeout 10 wget -q -O /dev/null --post-data "$1 $2" "${flynn_seed}" || flynn_say "the boot server could not be told"
}

# Says why this boot ends: CODE TEXT. With panic= on the command line live-boot's panic() reboots after that many seconds.
flynn_refuse ()
{
	panic="${panic:-30}"
	flynn_code="$1"
	shift
	flynn_report "${flynn_code}" "$*"
	flynn_others "flynn: BOOT REFUSED: $*. The machine restarts in ${panic} seconds."
	panic "flynn: BOOT REFUSED: $*. The machine restarts in ${panic} seconds."
}

# A clock that is more than a minute off would make every certificate look wrong. The boot server's is believed as its kernel is:
# over plain HTTP, once, before anything that is checked by time. NTP servers of the DHCP answer go on from there.
flynn_clock ()
{
	flynn_server="$(flynn_own_root)"
	flynn_server="${flynn_server:-${FETCH}}"
	flynn_server="${flynn_server#http://}"
	flynn_date="$(timeout 10 wget -S -q -O /dev/null "http://${flynn_server%%/*}/healthz" 2>&1 | sed -n 's/^ *[Dd]ate: *\(.*\) GMT.*$/\1/p')"
	flynn_right_s="$("${FLYNN_DATE}" -u -D '%a, %d %b %Y %T' -d "${flynn_date}" +%s 2>/dev/null)" || flynn_right_s=""
	[ -n "${flynn_date}" ] && [ -n "${flynn_right_s}" ] || {
		flynn_say "the boot server does not say what time it is; the clock stays as it is"
		return 0
	}
	flynn_off_s="$((flynn_right_s - $("${FLYNN_DATE}" -u +%s)))"
	[ "${flynn_off_s#-}" -gt 60 ] || return 0
	"${FLYNN_DATE}" -u -s "@${flynn_right_s}" > /dev/null || return 0
	flynn_say "the clock was off by ${flynn_off_s} seconds; it is set to ${flynn_date} UTC"
}

# One value of the boot server's answer: KEY PATTERN. What is not of the pattern is not taken, and nothing of it is run.
flynn_told ()
{
	printf '%s\n' "${flynn_answer}" | sed -n "s,^$1=\\($2\\)\$,\\1,p" | head -n 1
}

# What firmware says of the machine, as it can stand in a URL.
flynn_dmi ()
{
	tr -d '\n' < "${FLYNN_SYS:-/sys}/class/dmi/id/$1" 2>/dev/null | tr ' ' '-' | tr -cd 'A-Za-z0-9._:/()-'
}

# A signed image takes no command line but its own: what a boot script would have said is asked of the boot server, which the command
# line names (flynn.server=), else DHCP (next-server). Nothing but the root's URL and the seed's is taken from the answer.
flynn_ask ()
{
	flynn_line="$(cat "${FLYNN_CMDLINE:-/proc/cmdline}")"
	flynn_base="$(printf '%s\n' "${flynn_line}" | sed -n 's,^.*flynn\.server=\(http://[^/ ]*\).*$,\1,p')"
	if [ -z "${flynn_base}" ]
	then
		case "${ROOTSERVER}" in
			"" | 0.0.0.0)
				flynn_refuse network "DHCP names no next server, and this signed image was built without --boot-server"
				return 1
				;;
		esac
		flynn_base="http://${ROOTSERVER}:7780"
	fi
	flynn_query="mac=$(cat "${FLYNN_SYS:-/sys}/class/net/${DEVICE}/address")&uuid=$(flynn_dmi product_uuid)&serial=$(flynn_dmi product_serial)"
	flynn_query="${flynn_query}&vendor=$(flynn_dmi sys_vendor)&product=$(flynn_dmi product_name)&arch=$(uname -m)&platform=efi"
	flynn_unheard=0
	while [ "${flynn_unheard}" -lt "${FLYNN_ASK_TRIES}" ]
	do
		flynn_say "asking ${flynn_base} what to boot"
		flynn_answer="$(timeout 20 wget -q -O - "${flynn_base}/boot.env?${flynn_query}" | head -c 2048 | tr -d '\r')"
		flynn_why="$(flynn_told WHY '[A-Za-z0-9 .,:()_/=+?-]*')"
		case "$(flynn_told DO '[a-z]*')" in
			boot)
				FETCH="$(flynn_told FETCH 'http://[A-Za-z0-9.:/_-]*\.squashfs')"
				flynn_seed="$(flynn_told SEED 'http://[A-Za-z0-9.:/_-]*/')"
				case "${FETCH}" in
					*"/sha256-${SQUASHFS_SHA256}/"*)
						;;
					*)
						flynn_refuse image "the boot server gives this machine another image (${FETCH}) than this signed one"
						return 1
						;;
				esac
				# Where everything that reads the command line looks for the seed: cloud-init, and flynn_report.
				FLYNN_CMDLINE="${FLYNN_TOLD_CMDLINE}"
				printf '%s ds=nocloud-net;s=%s\n' "${flynn_line}" "${flynn_seed}" > "${FLYNN_CMDLINE}"
				mount -o bind "${FLYNN_CMDLINE}" /proc/cmdline
				return 0
				;;
			wait)
				flynn_unheard=0
				flynn_say "the boot server: ${flynn_why}"
				;;
			stop)
				flynn_refuse told "the boot server: ${flynn_why}"
				return 1
				;;
			*)
				flynn_unheard=$((flynn_unheard + 1))
				;;
		esac
		sleep "${FLYNN_RETRY_S}"
	done
	flynn_refuse network "the boot server ${flynn_base} does not say what to boot"
	return 1
}

flynn_has_memory ()
{
	flynn_total_kib="$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' "${FLYNN_MEMINFO:-/proc/meminfo}")"
	[ "$((flynn_total_kib / 1024))" -ge "$((MEMORY_NEED_BYTES / 1048576))" ]
}

# The port named by BOOTIF, else every port; waits for drivers that load late.
flynn_find_ports ()
{
	DEVICE=""
	for _ in $(seq 1 60)
	do
		Device_from_bootif
		[ -n "${DEVICE}" ] && return 0
		if [ -z "${BOOTIF}" ]
		then
			DEVICE="$(cd /sys/class/net && for d in *; do [ -e "${d}/device" ] && echo -n "${d} "; done)"
			[ -n "${DEVICE}" ] && return 0
		fi
		sleep 0.5
	done
	return 1
}

# live-boot copies it into the root, where nothing else writes one.
flynn_resolv_conf ()
{
	[ -z "${DNSDOMAIN}" ] || echo "search ${DNSDOMAIN}"
	for flynn_server in "${IPV4DNS0}" "${IPV4DNS1}"
	do
		case "${flynn_server}" in
			"" | 0.0.0.0) ;;
			*) echo "nameserver ${flynn_server}" ;;
		esac
	done
}

flynn_network ()
{
	modprobe -q af_packet
	udevadm settle --timeout=30
	flynn_find_ports || {
		flynn_refuse network "no network port ${BOOTIF:+with address ${BOOTIF#*-} }was found: no driver for it in this image"
		return 1
	}
	flynn_deadline=$(($(cut -d. -f1 /proc/uptime) + ${ETHDEV_TIMEOUT:-180}))
	while [ "$(cut -d. -f1 /proc/uptime)" -lt "${flynn_deadline}" ]
	do
		for interface in ${DEVICE}
		do
			ip link set "${interface}" up
			flynn_say "asking for an address on ${interface}"
			ipconfig -t 20 "${interface}"
			[ -e "/run/net-${interface}.conf" ] || continue
			. "/run/net-${interface}.conf"
			[ -n "${IPV4ADDR}" ] && [ "${IPV4ADDR}" != "0.0.0.0" ] && {
				DEVICE="${interface}"
				flynn_resolv_conf > /etc/resolv.conf
				flynn_is_up=yes
				flynn_say "${interface} has address ${IPV4ADDR}"
				return 0
			}
		done
		flynn_say "no DHCP answer yet; trying again"
	done
	flynn_refuse network "no DHCP answer on ${DEVICE} within ${ETHDEV_TIMEOUT:-180} seconds"
	return 1
}

# A line every FLYNN_WATCH_S seconds; ends a transfer into FILE that stood still for FLYNN_STALL_S (busybox wget has no read timeout), and one
# from a host beside it (OWN-ROOT is given) that is slower than FLYNN_PEER_BYTES in FLYNN_PEER_S: a byte now and then is no transfer.
flynn_watch ()
{
	flynn_seen=-1
	flynn_still_s=0
	flynn_peer_s=0
	flynn_peer_from=0
	while sleep "${FLYNN_WATCH_S}"
	do
		flynn_now="$(stat -c %s "$1" 2>/dev/null || echo 0)"
		flynn_say "fetched $((flynn_now / 1048576)) of $((SQUASHFS_BYTES / 1048576)) MiB"
		flynn_still_s=$((flynn_still_s + FLYNN_WATCH_S))
		[ "${flynn_now}" = "${flynn_seen}" ] || flynn_still_s=0
		flynn_seen="${flynn_now}"
		[ "${flynn_still_s}" -lt "${FLYNN_STALL_S}" ] || kill "$(cat "${FLYNN_PID_FILE}")" 2>/dev/null
		flynn_peer_s=$((flynn_peer_s + FLYNN_WATCH_S))
		[ -n "$2" ] && [ "${flynn_peer_s}" -ge "${FLYNN_PEER_S}" ] || continue
		[ "$((flynn_now - flynn_peer_from))" -ge "${FLYNN_PEER_BYTES}" ] || kill "$(cat "${FLYNN_PID_FILE}")" 2>/dev/null
		flynn_peer_s=0
		flynn_peer_from="${flynn_now}"
	done
}

# The boot server's own URL, when fetch= names a host that has the image (flynn.root=); else nothing.
flynn_own_root ()
{
	sed -n 's,^.*flynn\.root=\(http://[^ ]*\.squashfs\).*$,\1,p' "${FLYNN_CMDLINE:-/proc/cmdline}"
}

# A host that gave the image is told of, so that the timeline has the step: the boot server did not see the transfer.
flynn_tell_peer ()
{
	flynn_seed="$(sed -n 's,^.*ds=nocloud-net;s=\(http://[^/ ]*\)/s/\([A-Za-z0-9_-]*\)/.*$,\1/e/\2/peer,p' "${FLYNN_CMDLINE:-/proc/cmdline}")"
	[ -n "${flynn_seed}" ] || return 0
	timeout 10 wget -q -O /dev/null "${flynn_seed}" || flynn_say "the boot server could not be told"
}

# Fetches URL into FILE, on from the byte it has after a transfer that broke off. 0: it is there and it is the image of this initrd. Hashed afterwards, not on the way: busybox
# copies four KiB at a time, and every further process in a pipe costs more than reading memory again. Of a sender without an end it takes
# at most 512 bytes more than the image has: ulimit ends wget there.
flynn_fetch ()
{
	flynn_url="$1"
	flynn_file="$2"
	flynn_in_parts=""
	flynn_own_root="$(flynn_own_root)"
	: > "${flynn_file}"
	for flynn_try in $(seq 1 "${FLYNN_FETCH_TRIES}")
	do
		flynn_say "fetching the root image ${flynn_url} (try ${flynn_try} of ${FLYNN_FETCH_TRIES})"
		flynn_watch "${flynn_file}" "${flynn_own_root}" &
		flynn_watch_pid=$!
		# shellcheck disable=SC2016
		sh -c 'echo $$ > "$0"; ulimit -f "$3" && exec wget -q -c -O "$1" "$2"' "${FLYNN_PID_FILE}" "${flynn_file}" "${flynn_url}" "$((SQUASHFS_BYTES / 512 + 1))"
		kill "${flynn_watch_pid}" 2>/dev/null
		wait "${flynn_watch_pid}" 2>/dev/null
		flynn_size="$(stat -c %s "${flynn_file}")"
		if [ "${flynn_size}" -lt "${SQUASHFS_BYTES}" ]
		then
			flynn_in_parts=yes
			flynn_say "the transfer broke off at ${flynn_size} of ${SQUASHFS_BYTES} bytes; it goes on from there"
			[ -z "${flynn_own_root}" ] || {
				flynn_url="${flynn_own_root}"
				flynn_own_root=""
				continue
			}
			sleep "${FLYNN_RETRY_S}"
			continue
		fi
		flynn_say "checking the root image"
		flynn_sum="$(sha256sum "${flynn_file}" | cut -d' ' -f1)"
		if [ "${flynn_size}" = "${SQUASHFS_BYTES}" ] && [ "${flynn_sum}" = "${SQUASHFS_SHA256}" ]
		then
			flynn_say "root image verified: sha256 ${flynn_sum}"
			[ -z "${flynn_own_root}" ] || flynn_tell_peer
			return 0
		fi
		if [ -n "${flynn_in_parts}" ]
		then
			flynn_in_parts=""
			: > "${flynn_file}"
			flynn_say "the parts that were fetched do not make the root image; it is fetched anew"
			continue
		fi
		if [ -n "${flynn_own_root}" ]
		then
			flynn_say "the host beside it gave something else; the root image is fetched from the boot server"
			flynn_url="${flynn_own_root}"
			flynn_own_root=""
			: > "${flynn_file}"
			continue
		fi
		rm -f "${flynn_file}"
		flynn_refuse image "the root image is not the one this initrd belongs to (sha256 ${flynn_sum}, expected ${SQUASHFS_SHA256})"
		return 1
	done
	rm -f "${flynn_file}"
	flynn_refuse fetch "the root image could not be fetched from ${flynn_url}"
	return 1
}

# live-boot's own version waits seven seconds for a carrier even when BOOTIF names the port.
Select_eth_device ()
{
	:
}

# Root image and seed of an installed disk are here already: nothing is fetched, and no disk is looked at. What is wrong with them ends this
# boot, and GRUB takes the disk's other slot after some of such.
flynn_installed ()
{
	flynn_file="${mountpoint}/${LIVE_MEDIA_PATH}/filesystem.squashfs"
	panic=10
	flynn_has_memory || {
		flynn_refuse memory "this image needs $((MEMORY_NEED_BYTES / 1048576)) MiB of memory, the machine has $((flynn_total_kib / 1024)) MiB"
		return 1
	}
	flynn_say "checking the root image of this disk"
	flynn_sum="$(sha256sum "${FLYNN_LOADED}/root.squashfs" | cut -d' ' -f1)"
	[ "${flynn_sum}" = "${SQUASHFS_SHA256}" ] || {
		flynn_refuse image "the root image on this disk is damaged (sha256 ${flynn_sum}, expected ${SQUASHFS_SHA256})"
		return 1
	}
	flynn_say "root image verified: sha256 ${flynn_sum}"
	mount -t ramfs ram "${mountpoint}"
	mkdir -p "${mountpoint}/${LIVE_MEDIA_PATH}"
	mv "${FLYNN_LOADED}/root.squashfs" "${flynn_file}"
	# cloud-init finds it by a link (var/lib/cloud/seed).
	mkdir -p "${FLYNN_SEED}"
	cp "${FLYNN_LOADED}"/seed/* "${FLYNN_SEED}/"
}

# For name servers, which nothing in the root writes down. Without an answer the boot goes on all the same.
flynn_installed_network ()
{
	modprobe -q af_packet
	udevadm settle --timeout=30
	BOOTIF=""
	flynn_find_ports || return 0
	for interface in ${DEVICE}
	do
		ip link set "${interface}" up
		ipconfig -t 15 "${interface}"
		[ -e "/run/net-${interface}.conf" ] || continue
		. "/run/net-${interface}.conf"
		flynn_resolv_conf > /etc/resolv.conf
		flynn_say "${interface} has address ${IPV4ADDR}"
		return 0
	done
	flynn_say "no DHCP answer; the boot goes on without"
}

# Called by live-boot when fetch= is given; every other network source is refused.
do_netmount ()
{
	SQUASHFS_SHA256="" SQUASHFS_BYTES="" MEMORY_NEED_BYTES=""
	[ -e "${FLYNN_IMAGE_CONF}" ] && . "${FLYNN_IMAGE_CONF}"
	if [ -z "${SQUASHFS_SHA256}" ] || [ -z "${SQUASHFS_BYTES}" ] || [ -z "${MEMORY_NEED_BYTES}" ]
	then
		flynn_refuse image "this initrd does not say which root image belongs to it"
		return 1
	fi
	case "${FETCH}" in
		http://*.squashfs)
			;;
		disk:)
			flynn_installed && flynn_installed_network
			return
			;;
		*)
			flynn_refuse image "fetch= must be an http URL that ends in .squashfs"
			return 1
			;;
	esac
	# The network first: a refusal is told to the boot server.
	flynn_network || return 1
	flynn_has_memory || {
		flynn_refuse memory "this image needs $((MEMORY_NEED_BYTES / 1048576)) MiB of memory, the machine has $((flynn_total_kib / 1024)) MiB"
		return 1
	}
	[ "${FETCH}" != "${FLYNN_ASKED}" ] || flynn_ask || return 1
	flynn_clock
	mount -t ramfs ram "${mountpoint}"
	mkdir -p "${mountpoint}/${LIVE_MEDIA_PATH}"
	flynn_fetch "${FETCH}" "${mountpoint}/${LIVE_MEDIA_PATH}/filesystem.squashfs"
}
