// IPMI by Debian's ipmitool: one short-lived process for each question, its password in its environment and never in its arguments,
// bounded, and what it writes to stderr turned into plain words.
import type { BmcAccess } from "#api/bmc-work.ts";
import type { BootDevice, BootMode, PowerState } from "#api/power.ts";
import { ExecError, exec } from "#lib/exec.ts";
import type { Switch } from "./switch.ts";
import { cleanText, trouble } from "./trouble.ts";

export interface IpmiOptions {
  bmc: BmcAccess;
  /** Of one call, in milliseconds: BMCs that answer after half a minute are real. */
  timeoutMs?: number;
  program?: string;
}

export const IPMI_PORT = 623;
const TIMEOUT_MS = 75_000;
/** Of one packet, in seconds, and how often it is sent: half a minute and more for the slowest. */
const PACKET_SECONDS = 9;
const SENDS = 4;
/** What nearly every BMC of the last ten years takes; older ones want 3. */
const CIPHER_SUITE = 17;

/** Where a BMC listens: `host`, `host:port`, `[v6]:port`. */
export function hostAndPort(address: string, port: number): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(address);
  if (match === null) throw trouble("bmc-unset", `${cleanText(address)} is no address of a BMC`);
  return { host: match[1] ?? match[2]!, port: match[3] === undefined ? port : Number(match[3]) };
}

export function ipmiArgv(
  { address = "", user, cipherSuite = CIPHER_SUITE }: BmcAccess,
  command: readonly string[],
): string[] {
  const { host, port } = hostAndPort(address, IPMI_PORT);
  return [
    // Verbose: only so does it say whether it was the password, the user or the cipher suite.
    ...["-v", "-I", "lanplus", "-H", host, "-p", `${port}`],
    ...(user === undefined ? [] : ["-U", user]),
    ...["-E", "-C", `${cipherSuite}`, "-N", `${PACKET_SECONDS}`, "-R", `${SENDS}`],
    ...command,
  ];
}

/** What ipmitool means. Pure. */
export function ipmiTrouble(stderr: string, address: string) {
  const said = cleanText(stderr.replace("Loading IANA PEN Registry...", ""), 200);
  const bmc = `the BMC at ${address}`;
  if (/RAKP 2 HMAC is invalid|RAKP 4 message has invalid integrity/i.test(stderr))
    return trouble("bmc-password", `${bmc} does not take this password`);
  if (/unauthorized name|invalid user ?name|illegal parameter.*user/i.test(stderr))
    return trouble("bmc-password", `${bmc} knows no such user, or lets it not in over the network`);
  if (
    /invalid authentication algorithm|no matching cipher suite|invalid integrity algorithm|invalid confidentiality|no cipher suite/i.test(
      stderr,
    )
  )
    return trouble(
      "bmc-cipher-suite",
      `${bmc} does not take this cipher suite: set another, 3 for old ones, 17 for new ones`,
    );
  if (/insufficient privilege|invalid role|requested privilege/i.test(stderr))
    return trouble(
      "bmc-privilege",
      `${bmc} lets this user only look: give it the right to switch (operator or administrator)`,
    );
  if (/payload already active/i.test(stderr))
    return trouble("bmc-busy", `the console of ${bmc} is in use by another session`);
  if (/insufficient resources|node busy/i.test(stderr))
    return trouble("bmc-busy", `${bmc} has no session free: ${said}`);
  if (/address lookup|could not open socket|unreachable|Authentication Capabilities|timeout|no response/i.test(stderr))
    return trouble("bmc-unreachable", `${bmc} does not answer: ${said}`);
  if (/unable to establish/i.test(stderr)) return trouble("bmc-unreachable", `no session with ${bmc}: ${said}`);
  if (/invalid command|not supported|unsupported/i.test(stderr))
    return trouble("bmc-unsupported", `${bmc} does not know how: ${said}`);
  return trouble("bmc-answer", `${bmc}: ${said || "ipmitool failed and says nothing"}`);
}

/** `Chassis Power is on`. Pure. */
export function powerOf(stdout: string): PowerState {
  const found = /^Chassis Power is (on|off)\s*$/im.exec(stdout)?.[1]?.toLowerCase();
  return found === "on" || found === "off" ? found : "unknown";
}

/** What boot parameter 5 says: which device it forces. Pure. */
export function forcedDevice(stdout: string): string | undefined {
  return /^\s*- Boot Device Selector\s*:\s*(.{1,60}?)\s*$/im.exec(stdout)?.[1];
}

const DEVICES: Partial<Record<BootDevice, { word: string; reads: RegExp }>> = {
  pxe: { word: "pxe", reads: /PXE/i },
  disk: { word: "disk", reads: /hard-?drive/i },
  bios: { word: "bios", reads: /BIOS|CMOS|setup/i },
};

/** Whether it is on, switching it, and what it boots once. */
export function ipmiSwitch({ bmc, timeoutMs = TIMEOUT_MS, program = "ipmitool" }: IpmiOptions): Switch {
  const { address = "", password = "" } = bmc;
  const told = async (command: readonly string[], signal: AbortSignal): Promise<string> => {
    const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", IPMI_PASSWORD: password };
    try {
      const argv = [program, ...ipmiArgv(bmc, command)];
      return (await exec(argv, { env, timeoutMs, signal, maxOutputBytes: 1 << 16 })).stdout;
    } catch (error) {
      if (!(error instanceof ExecError) || signal.aborted) throw error;
      if (error.message.includes("took longer"))
        throw trouble("bmc-timeout", `the BMC at ${address} did not answer within ${timeoutMs / 1000} s`);
      if (error.exitCode === undefined)
        throw trouble("bmc-unsupported", "ipmitool cannot be started here; apt-get install ipmitool", error);
      throw ipmiTrouble(error.stderr, address);
    }
  };
  const raw = async (signal: AbortSignal): Promise<PowerState> =>
    powerOf(await told(["chassis", "power", "status"], signal));
  return {
    power: raw,
    on: async (signal) => void (await told(["chassis", "power", "on"], signal)),
    off: async (hard, signal) => void (await told(["chassis", "power", hard ? "off" : "soft"], signal)),
    async bootOnce(device: BootDevice, mode: BootMode | undefined, signal: AbortSignal): Promise<string> {
      const known = DEVICES[device];
      if (known === undefined)
        throw trouble(
          "bmc-unsupported",
          device === "media"
            ? "IPMI has no virtual drive: order pxe, or use the BMC's Redfish"
            : "IPMI knows no UEFI HTTP boot: order pxe, or use the BMC's Redfish",
        );
      const options = mode === "uefi" ? ["options=efiboot"] : [];
      await told(["chassis", "bootdev", known.word, ...options], signal);
      const reads = forcedDevice(await told(["chassis", "bootparam", "get", "5"], signal));
      if (reads === undefined || !known.reads.test(reads))
        throw trouble(
          "boot-override",
          `the BMC at ${address} was told to boot ${device} once, and reads back ${reads ?? "nothing"}`,
        );
      return cleanText(reads);
    },
    close: async () => undefined,
  };
}
