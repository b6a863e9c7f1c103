// What is in the host image: packages, what is taken out again, which units run, the kernel's base command line.
// Data only; a change here changes the image's hashes.

export const suite = "bookworm";
/** As Debian spells them. */
export const ARCHITECTURES = ["amd64", "arm64"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];
export const components = ["main", "non-free-firmware"] as const;

/** Clock of the package installation (some maintainer scripts write dates); the image's own date is its newest package's. */
export const installEpochSeconds = 1_700_000_000;

const packages = [
  "initramfs-tools",
  "lz4",
  "live-boot",
  "live-boot-initramfs-tools",
  "systemd",
  "systemd-sysv",
  "systemd-timesyncd",
  "udev",
  "dbus",
  "kmod",
  "procps",
  "cloud-init",
  "docker.io",
  "apparmor",
  "iproute2",
  "iptables",
  "nftables",
  "e2fsprogs",
  "util-linux",
  "gdisk",
  // what the inventory reads with: SMART, cards' firmware, the BMC's address, the TPM's key (with which a host joins, too)
  "smartmontools",
  "ethtool",
  "ipmitool",
  "tpm2-tools",
  // what disks are wiped with by themselves
  "nvme-cli",
  "hdparm",
  "ca-certificates",
  "openssh-server",
] as const;

const firmware = [
  "firmware-bnx2",
  "firmware-bnx2x",
  "firmware-cavium",
  "firmware-misc-nonfree",
  "firmware-netronome",
  "firmware-netxen",
  "firmware-qlogic",
  "firmware-realtek",
] as const;

/** What an architecture has of its own; microcode of arm64 comes with its firmware, and no disk of it is installed to yet. */
const OWN: Readonly<
  Record<
    Architecture,
    {
      base: readonly string[];
      packages: readonly string[];
      libraries: string;
      console: string;
      pruned: readonly string[];
    }
  >
> = {
  amd64: {
    base: [],
    // Microcode; boot loaders of installed disks (boot-files.ts).
    packages: ["intel-microcode", "amd64-microcode", "shim-signed", "grub-efi-amd64-signed", "grub-pc-bin"],
    libraries: "x86_64-linux-gnu",
    console: "ttyS0",
    pruned: [
      "boot/{efi,grub}",
      "etc/{default/grub*,grub.d,kernel/postinst.d/zz-update-grub,kernel/postrm.d/zz-update-grub}",
      "usr/lib/{grub,grub-legacy,shim}",
      "usr/share/grub",
      "usr/{bin,sbin}/{grub-*,update-grub*,mokutil,update-secureboot-policy}",
    ],
  },
  arm64: {
    // not usrmerge, which some package wants else, and with it all of Perl: the tree is merged from the beginning (tree.ts)
    base: ["tzdata", "usr-is-merged"],
    packages: [],
    libraries: "aarch64-linux-gnu",
    console: "ttyAMA0",
    // picture of boards that are no servers
    pruned: [
      "usr/lib/linux-image-*", // device trees: a machine's UEFI has its own
      "usr/lib/modules/*/kernel/drivers/gpu/drm/{bridge,etnaviv,exynos,hisilicon/kirin,imx,lima,mediatek,meson,msm,mxsfb,panel,panfrost,rockchip,sun4i,tegra,vc4}",
    ],
  },
};

export const packagesOf = (architecture: Architecture): string[] => [
  `linux-image-${architecture}`,
  ...OWN[architecture].base,
  ...packages,
  ...OWN[architecture].packages,
  ...firmware,
];

/** Never unpacked. */
export const dpkgPaths = [
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/locale/*",
  "path-exclude=/usr/share/info/*",
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
] as const;

const kernel = "usr/lib/modules/*/kernel";

/** Taken out of the tree, as globs from its root: what a server never loads, and what differs between two builds. */
export const prunedOf = (architecture: Architecture): string[] => [
  ...pruned,
  `usr/lib/${OWN[architecture].libraries}/perl`,
  `usr/lib/${OWN[architecture].libraries}/libperl.so*`,
  `usr/lib/${OWN[architecture].libraries}/gconv`, // character sets of long ago
  ...OWN[architecture].pruned,
];

const pruned = [
  // differs between two builds, or belongs to the builder
  "boot/*",
  "etc/apt/sources.list",
  "etc/apt/sources.list.d/*",
  "etc/apt/apt.conf.d/99mmdebstrap",
  "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
  "etc/hostname",
  "etc/machine-id",
  "etc/resolv.conf",
  "etc/*-",
  "initrd.img*",
  "vmlinuz*",
  "tmp/*",
  "run/*",
  "var/cache/*",
  "var/lib/apt/lists/*",
  "var/lib/dbus/machine-id",
  "var/lib/dpkg/*-old",
  "var/lib/initramfs-tools/*",
  "var/lib/systemd/random-seed",
  "var/lib/cloud/*",
  "var/log/*",
  "var/tmp/*",
  // keys of a machine that builds are nobody's; each host makes its own (flynn-ssh)
  "etc/ssh/ssh_host_*",
  // at the front of the initrd (microcode.ts), where alone the kernel reads it
  "usr/lib/firmware/{intel-ucode,amd-ucode}",
  "usr/share/initramfs-tools/hooks/{intel_microcode,amd64_microcode}",
  // replaced by our cloud.cfg and by multi-user.target.d/flynn.conf
  "usr/lib/systemd/system-generators/cloud-init-generator",
  // each runs on every boot before the first unit, to look for what this root does not have
  "usr/lib/systemd/system-generators/systemd-{bless-boot,cryptsetup,gpt-auto,hibernate-resume,integritysetup,rc-local,system-update,sysv,veritysetup}-generator",
  "etc/init.d/*",
  "etc/rc?.d",
  "etc/cloud/cloud.cfg.d/00_*",
  "etc/cloud/cloud.cfg.d/01_*",
  "etc/cloud/cloud.cfg.d/90_*",
  // languages, Perl's library (perl-base stays), time zones twice
  "usr/share/i18n",
  "usr/share/perl",
  "usr/share/zoneinfo/posix",
  "usr/share/zoneinfo/right",
  "usr/share/bash-completion",
  "usr/share/zsh",
  "usr/lib/udev/hwdb.d",
  "usr/lib/udev/hwdb.bin",
  "usr/lib/python3/dist-packages/*/tests",
  // programs that belong to packages we need but are not run here
  "usr/bin/{ctr,dnet,ovrouter,containerd-shim,containerd-shim-runc-v1,containerd-stress}",
  "usr/sbin/{ctr,dnet,ovrouter,dhclient}",
  "usr/bin/{localedef,perl5*}",
  // hdparm itself stays: it erases disks, and sets nothing at boot
  "etc/hdparm.conf",
  "usr/lib/hdparm",
  "usr/lib/pm-utils",
  "usr/lib/systemd/system-sleep/hdparm",
  "usr/lib/udev/{hdparm,rules.d/85-hdparm.rules}",
  // sound, picture, radio
  `${kernel}/sound`,
  `${kernel}/drivers/media`,
  `${kernel}/drivers/gpu/drm/amd`,
  `${kernel}/drivers/gpu/drm/radeon`,
  `${kernel}/drivers/gpu/drm/nouveau`,
  `${kernel}/drivers/gpu/drm/i915`,
  `${kernel}/drivers/gpu/drm/gma500`,
  `${kernel}/drivers/gpu/drm/vmwgfx`,
  `${kernel}/drivers/net/wireless`,
  `${kernel}/drivers/net/can`,
  `${kernel}/drivers/net/ieee802154`,
  `${kernel}/drivers/net/wwan`,
  `${kernel}/drivers/bluetooth`,
  `${kernel}/drivers/comedi`,
  `${kernel}/drivers/iio`,
  `${kernel}/drivers/isdn`,
  `${kernel}/drivers/staging`,
  `${kernel}/drivers/nfc`,
  `${kernel}/drivers/input/joystick`,
  `${kernel}/drivers/input/tablet`,
  `${kernel}/drivers/input/touchscreen`,
  `${kernel}/drivers/mtd`,
  `${kernel}/drivers/usb/serial`,
  `${kernel}/drivers/usb/gadget`,
  `${kernel}/drivers/parport`,
  `${kernel}/drivers/firewire`,
  `${kernel}/drivers/pcmcia`,
  `${kernel}/drivers/gnss`,
  `${kernel}/lib/test_*.ko`,
  `${kernel}/drivers/video/fbdev`,
  `${kernel}/net/bluetooth`,
  `${kernel}/net/mac80211`,
  `${kernel}/net/mac802154`,
  `${kernel}/net/wireless`,
  `${kernel}/net/can`,
  `${kernel}/net/nfc`,
  `${kernel}/fs/{ocfs2,gfs2,jfs,reiserfs,hfs,hfsplus,nilfs2,ubifs,jffs2,ceph,f2fs,ntfs3,ntfs,9p,afs,coda,orangefs,smb,minix,ufs,affs,befs,bfs,efs,erofs,hpfs,omfs,qnx4,qnx6,romfs,sysv,zonefs,adfs,dlm,nfsd,vboxsf,ecryptfs,freevxfs,cramfs,udf,exfat}`,
  "usr/lib/firmware/{i915,mediatek,nvidia,rtw88,rtw89,rtlwifi,rtl_bt,wfx,rockchip,ueagle-atm,amdgpu,radeon,matrox,r128,mwl8k,ar3k,ti-connectivity,cpia2,dsp56k,emi26,emi62,keyspan*,korg,yam,yamaha,sb16,ess,go7007,av7110,ttusb-budget,vicam,mrvl,qcom,amlogic,meson,atusb,imx,lgs8g75*,powervr,cnm,dpaa2,arm,nxp}",
  "usr/lib/firmware/netronome/{bpf,flower,nic-sriov}",
  "usr/lib/firmware/cavium",
  "usr/lib/firmware/{v4l-*,rt2*,rt3*,rt73*,vntwusb*,dvb-*,as102*,lbtf*,sms1*,tlg2300*,vpu_*,mt7*,s5p-*,cmmb*,hfi1_*,wil6210*,r8a779*,whiteheat*,usbdux*,ti_*,mts_*,rsi*,TDA*,xc*,isdbt*}",
] as const;

/** Linked to /dev/null: a host in RAM has no use for them, and each is boot time. */
export const maskedUnits = [
  "apparmor.service", // dockerd loads its own profile; no other is used here
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "cloud-init-hotplugd.socket",
  "cloud-init-local.service",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "ipmievd.service",
  "smartmontools.service", // smartctl is asked once a boot; no daemon asks disks
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "ldconfig.service",
  "ssh.service", // flynn-ssh, and only with keys
  "ssh.socket",
  "nvmefc-boot-connections.service", // disks over a network: none is used
  "nvmf-autoconnect.service",
  "modprobe@configfs.service",
  "modprobe@dm_mod.service",
  "modprobe@drm.service",
  "modprobe@efi_pstore.service",
  "modprobe@fuse.service",
  "modprobe@loop.service",
  "proc-sys-fs-binfmt_misc.automount",
  "sys-fs-fuse-connections.mount",
  "sys-kernel-config.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "systemd-binfmt.service",
  "systemd-boot-system-token.service",
  "systemd-firstboot.service",
  "systemd-hwdb-update.service",
  "systemd-journal-catalog-update.service",
  "systemd-journal-flush.service",
  "systemd-network-generator.service",
  "systemd-machine-id-commit.service",
  "systemd-pstore.service",
  "systemd-random-seed.service",
  "systemd-rfkill.socket",
  "systemd-update-done.service",
  "systemd-update-utmp.service",
  "systemd-update-utmp-runlevel.service",
] as const;

export const enabledUnits = [
  "containerd.service", // while the seed is read; Docker waits for the disk
  "flynn-hostd.path",
  "flynn-screen.service",
  "flynn-ssh.path",
  "flynn-warm.service",
  "systemd-networkd.service",
  "systemd-networkd-wait-online.service",
] as const;

/** Started by flynn-hostd, after the disk (the clock: after sysinit.target): never by themselves. */
export const disabledUnits = ["docker.service", "systemd-timesyncd.service"] as const;

/**
 * Kernel arguments that every boot of the image needs. The boot server adds the ones of this boot: `fetch=` (must end in
 * .squashfs), `BOOTIF=` and `ds=nocloud-net;s=`. The last console= is /dev/console.
 */
export const cmdlineOf = (architecture: Architecture): string[] => [
  "boot=live",
  "skipconfig",
  "console=tty0",
  `console=${OWN[architecture].console},115200n8`,
  "panic=30",
  "loglevel=5",
  "apparmor=1",
];

/** Memory beside the squashfs itself: kernel, initrd while it unpacks, page cache of what runs, Docker, hostd. */
export const memoryBesideImageBytes = 640 * 1024 ** 2;
