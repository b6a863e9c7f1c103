// What a tenant reaches, as wanted: one row per kind of place, one column for an app's job and one for a build. hostd/README.md shows
// the same table (test/hostd/reach/table.test.ts), reach.test.ts sees it in the kernel.

/** Under every egress policy, under none of them, or under those named (`flynn up --app-egress`). */
export type Outcome = "yes" | "no" | "all" | "all, internet";
export const POLICIES = ["all", "internet", "none"] as const;
export type Policy = (typeof POLICIES)[number];

export interface Row {
  key: string;
  what: string;
  app: Outcome;
  build: Outcome;
}

export const ROWS: readonly Row[] = [
  { key: "own-here", what: "own app, same host", app: "yes", build: "no" },
  { key: "own-there", what: "own app, another host", app: "yes", build: "no" },
  { key: "other-here", what: "another app, same host", app: "no", build: "no" },
  { key: "other-there", what: "another app, another host", app: "no", build: "no" },
  { key: "ruled-here", what: "an app that a rule opens, same host", app: "yes", build: "no" },
  { key: "ruled-there", what: "an app that a rule opens, another host", app: "yes", build: "no" },
  { key: "build", what: "another build, same host", app: "no", build: "no" },
  { key: "names", what: "name servers of the host, port 53", app: "yes", build: "yes" },
  { key: "api", what: "the API (7777), git over SSH (7722)", app: "yes", build: "no" },
  { key: "routers", what: "routers (80, 443, TCP routes 3000-3500)", app: "yes", build: "no" },
  { key: "registry", what: "registry (5000)", app: "no", build: "no" },
  { key: "boot", what: "boot plane: HTTP 7780, TFTP 69, DHCP 67", app: "no", build: "no" },
  { key: "sshd", what: "sshd of its host, by any address", app: "no", build: "no" },
  { key: "hostd", what: "hostd (7779) of its host, by any address", app: "no", build: "no" },
  { key: "docker", what: "Docker (2375) of its host, by any address", app: "no", build: "no" },
  { key: "hosts", what: "other hosts: sshd, hostd, Docker, by any address", app: "no", build: "no" },
  { key: "lan", what: "another machine on the LAN, another private network", app: "all", build: "all" },
  { key: "bmc", what: "boot and BMC networks", app: "no", build: "no" },
  { key: "metadata", what: "link-local and metadata addresses (169.254.169.254)", app: "no", build: "no" },
  { key: "outside", what: "the outside", app: "all, internet", build: "all, internet" },
  { key: "ipv6", what: "anything over IPv6", app: "no", build: "no" },
];

export function markdown(rows: readonly Omit<Row, "key">[]): string {
  const lines = [["towards", "from an app", "from a build"], ...rows.map(({ what, app, build }) => [what, app, build])];
  const widths = [0, 1, 2].map((n) => Math.max(...lines.map((line) => line[n]!.length)));
  const text = (line: readonly string[]) => `| ${line.map((cell, n) => cell.padEnd(widths[n]!)).join(" | ")} |`;
  const [head, ...body] = lines;
  return [text(head!), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body.map(text)].join("\n");
}

/** The outcome of a place that was reached under these policies; what is none of the outcomes is said as it was. */
export function outcome(reached: readonly Policy[]): string {
  if (reached.length === 0) return "no";
  const text = POLICIES.filter((policy) => reached.includes(policy)).join(", ");
  return text === POLICIES.join(", ") ? "yes" : text;
}
