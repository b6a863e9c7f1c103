// The sshd that serves git: its configuration as text, and where what it uses is seen by its sessions. sshd_config(5).
import { join } from "node:path";

/** The account of sessions. It exists only in the sshd's own view of the machine; control gives it its socket. */
export const SESSION_USER = "git";
export const SESSION_UID = 60_777;

/** What sshd and its sessions see below this directory is put there for them alone. */
export const VIEW = "/run/flynn-git";
/** The relay's words, as a session starts it. */
export const RELAY = [
  join(VIEW, "node"),
  "--no-warnings",
  join(VIEW, "relay", "relay.ts"),
  join(VIEW, "door", "git.sock"),
] as const;

export const HOST_KEY_TYPES = ["ed25519", "rsa"] as const;
export const hostKeyFile = (directory: string, type: (typeof HOST_KEY_TYPES)[number]): string =>
  join(directory, `ssh_host_${type}_key`);

export interface SshServer {
  port: number;
  /** Address it listens on. */
  address: string;
  hostKeyDir: string;
}

export function sshdConfig({ port, address, hostKeyDir }: SshServer): string {
  const lines: (readonly [string, string])[] = [
    ["Port", String(port)],
    ["ListenAddress", address],
    ...HOST_KEY_TYPES.map((type) => ["HostKey", quoted(hostKeyFile(hostKeyDir, type))] as const),
    ["PidFile", "none"],
    ["UsePAM", "no"],
    ["UseDNS", "no"],
    ["AllowUsers", SESSION_USER],
    ["PermitRootLogin", "no"],
    ["AuthenticationMethods", "publickey"],
    ["PubkeyAuthentication", "yes"],
    ["PasswordAuthentication", "no"],
    ["KbdInteractiveAuthentication", "no"],
    ["HostbasedAuthentication", "no"],
    ["AuthorizedKeysFile", "none"],
    // env(1) first: sshd starts only what root owns, and this tree may be somebody else's.
    ["AuthorizedKeysCommand", `/usr/bin/env -i ${RELAY.join(" ")} keys %f`],
    ["AuthorizedKeysCommandUser", SESSION_USER],
    ["DisableForwarding", "yes"],
    ["PermitTTY", "no"],
    ["PermitUserRC", "no"],
    ["PermitUserEnvironment", "no"],
    ["AcceptEnv", "GIT_PROTOCOL"],
    ["PrintMotd", "no"],
    ["PrintLastLog", "no"],
    ["LoginGraceTime", "30"],
    ["MaxAuthTries", "10"],
    ["MaxSessions", "4"],
    ["MaxStartups", "50:30:200"],
    // A client that is gone is noticed, and a silent build's connection kept open.
    ["ClientAliveInterval", "15"],
    ["ClientAliveCountMax", "4"],
  ];
  return lines.map(([name, value]) => `${name} ${value}\n`).join("");
}

const quoted = (path: string): string => `"${path.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
