// What is in the stack's two images: Debian packages, what is taken out again, Node.js tools, environment. Data only; a
// change here changes the images' digests.

/** What STACK says during a build: Debian's release, so that a buildpack can tell which libraries it finds. */
export const stackName = "flynn-12";

export const suite = "bookworm";
export const backports = "bookworm-backports";
export const architecture = "amd64";
export const components = ["main"] as const;

/** Clock of the package installation; the images' own date is their newest package's. */
export const installEpochSeconds = 1_700_000_000;

/** What runs apps. */
export const runnerPackages = [
  "bash",
  "bzip2",
  "ca-certificates",
  "curl",
  "iproute2",
  "less",
  "libcurl4",
  "libexpat1",
  "libffi8",
  "libgmp10",
  "libicu72",
  "libjemalloc2",
  "libmariadb3",
  "libncurses6",
  "libpq5",
  "libreadline8",
  "libsqlite3-0",
  "libxml2",
  "libxslt1.1",
  "libyaml-0-2",
  "netcat-openbsd",
  "nginx-light",
  "openssl",
  "procps",
  "python3",
  "python3-venv",
  "ruby",
  "ruby-bundler",
  "tzdata",
  "unzip",
  "usr-is-merged",
  "xz-utils",
  "zip",
] as const;

/** Out of the runner again: mmdebstrap takes usrmerge to merge /usr, and it brings all of Perl along. */
export const runnerPurged = [
  "usrmerge",
  "libfile-find-rule-perl",
  "libnumber-compare-perl",
  "libtext-glob-perl",
  "perl",
  "perl-modules-5.36",
  "libperl5.36",
] as const;

/** What builds them, beside the above. */
export const builderPackages = [
  "autoconf",
  "automake",
  "build-essential",
  "file",
  "git",
  "golang-1.23-go",
  "golang-1.23-src",
  "jq",
  "libcurl4-openssl-dev",
  "libffi-dev",
  "libgmp-dev",
  "libmariadb-dev",
  "libpq-dev",
  "libreadline-dev",
  "libsqlite3-dev",
  "libssl-dev",
  "libtool",
  "libxml2-dev",
  "libxslt1-dev",
  "libyaml-dev",
  "patch",
  "pkg-config",
  "python3-dev",
  "python3-pip",
  "rsync",
  "ruby-dev",
  "wget",
  "zlib1g-dev",
] as const;

/** Never unpacked. */
export const dpkgPaths = [
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/locale/*",
  "path-exclude=/usr/share/info/*",
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
] as const;

/** Taken out of both trees, as globs from their root: what differs between two builds, and what no app needs. */
export const pruned = [
  "etc/apt/apt.conf.d/99mmdebstrap",
  "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
  "etc/apt/sources.list",
  "etc/apt/sources.list.d/*",
  "etc/hostname",
  "etc/machine-id",
  "etc/resolv.conf",
  "etc/*-",
  "run/*",
  "tmp/*",
  "var/cache/*",
  "var/lib/apt/lists/*",
  "var/lib/dpkg/*-old",
  "var/log/*",
  "var/tmp/*",
  "usr/share/zoneinfo/right",
  "usr/share/zoneinfo/posix",
  "usr/share/i18n",
  "usr/lib/x86_64-linux-gnu/gconv/IBM*",
  "usr/lib/x86_64-linux-gnu/gconv/EBCDIC*",
  // static libraries that no package of a language links against
  "usr/lib/x86_64-linux-gnu/lib{icu*,ruby-3.1-static,mariadbclient}.a",
  "usr/lib/python3.11/config-3.11-x86_64-linux-gnu/libpython3.11*.a",
  "usr/lib/go-1.23/{test,api}",
  "usr/share/go-1.23/{test,api}",
] as const;

/** The app's user: in neither image does anything of an app run as another. */
export const appUser = { name: "app", id: 1000, home: "/app" } as const;

export const runnerEnvironment = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: appUser.home,
  LANG: "C.UTF-8",
} as const;

export const builderEnvironment = { ...runnerEnvironment, STACK: stackName } as const;

/** The Python installer beside pip, of the package index that this machine uses. */
export const uvRequirement = "uv==0.13.9";

/** Go's standard library, compiled as the Go buildpack compiles: another flag would be another library to Go. */
export const goCompiled = {
  directory: "usr/lib/go-build",
  flags: ["-trimpath"],
  variables: { CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false", GOTOOLCHAIN: "local", GOTELEMETRY: "off", GOENV: "off" },
} as const;
