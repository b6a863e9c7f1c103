// Debian's ipmi_sim on loopback: a real RMCP+ peer that is a machine with a BMC. What it is told to do with the chassis a small script does
// to files, which the test reads and writes. It knows cipher suite 3 alone.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BmcAccess } from "#api/bmc-work.ts";
import { stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { ipmiSwitch } from "../../../bootstrap/bmc/ipmi.ts";
import { freePort } from "../../lib/free-port.ts";

export interface IpmiSim extends AsyncDisposable {
  bmc: BmcAccess;
  address: string;
  power(): Promise<"on" | "off">;
  setPower(state: "on" | "off"): Promise<void>;
  /** What the chassis was told, such as `set power 1`. */
  calls(): Promise<string[]>;
  /** Whether a request to shut down is followed. */
  setObeys(obeys: boolean): Promise<void>;
  /** What came to its serial port. */
  typed(): string;
  /** Writes to its serial port. */
  print(text: string): void;
}

const USER = "admin";
const PASSWORD = "geheim12";

export async function ipmiSim(): Promise<IpmiSim> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-ipmi-sim-"));
  const [port, serialPort] = [await freePort("udp"), await freePort()];
  const at = (name: string) => join(directory, name);
  await mkdir(at("state"));
  await writeFile(at("power"), "0\n");
  await writeFile(at("obeys"), "1\n");
  await writeFile(at("calls"), "");
  await writeFile(at("chassis"), chassis(directory), { mode: 0o755 });
  await writeFile(at("lan.conf"), lanConf({ directory, port, serialPort, solPort: await freePort() }));
  await writeFile(
    at("commands"),
    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n",
  );
  let typed = "";
  const lines = new Set<Socket>();
  const serial = createServer((socket) => {
    lines.add(socket);
    socket.on("data", (bytes) => {
      typed += bytes.toString("latin1");
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => lines.delete(socket));
  });
  await new Promise<void>((resolve) => serial.listen(serialPort, "127.0.0.1", resolve));
  const argv = ["-c", at("lan.conf"), "-f", at("commands"), "-s", at("state"), "-n"];
  const child: ChildProcess = spawn("ipmi_sim", argv, { stdio: ["ignore", "ignore", "inherit"] });
  const address = `127.0.0.1:${port}`;
  const bmc: BmcAccess = { kind: "ipmi", address, user: USER, password: PASSWORD, cipherSuite: 3, macs: [] };
  const sim: IpmiSim = {
    bmc,
    address,
    power: async () => ((await readFile(at("power"), "utf8")).trim() === "1" ? "on" : "off"),
    setPower: (state) => writeFile(at("power"), state === "on" ? "1\n" : "0\n"),
    calls: async () => (await readFile(at("calls"), "utf8")).split("\n").filter((line) => line.startsWith("set")),
    setObeys: (obeys) => writeFile(at("obeys"), obeys ? "1\n" : "0\n"),
    typed: () => typed,
    print(text) {
      for (const socket of lines) socket.write(text);
    },
    async [Symbol.asyncDispose]() {
      await stopChild(child, 2_000);
      for (const socket of lines) socket.destroy();
      await new Promise<void>((resolve) => serial.close(() => resolve()));
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    const device = ipmiSwitch({ bmc, timeoutMs: 10_000 });
    await until(() => device.power(AbortSignal.timeout(10_000)), { what: "ipmi_sim answers", timeoutMs: 20_000 });
  } catch (error) {
    await sim[Symbol.asyncDispose]();
    throw error;
  }
  return sim;
}

function chassis(directory: string): string {
  return `#!/bin/sh
# chassis_control of ipmi_sim: ADDRESS get|set|check NAME [VALUE] ...
cd ${directory} || exit 1
shift
echo "$@" >> calls
verb=$1
shift
case $verb in
get)
  for name in "$@"; do
    case $name in
    power) echo "power:$(cat power)" ;;
    boot) echo "boot:$(cat boot 2>/dev/null || echo none)" ;;
    *) echo "$name:0" ;;
    esac
  done
  ;;
set)
  while [ $# -gt 1 ]; do
    case $1 in
    power) echo "$2" > power ;;
    boot) echo "$2" > boot ;;
    shutdown) [ "$(cat obeys)" = 1 ] && echo 0 > power ;;
    esac
    shift 2
  done
  ;;
esac
exit 0
`;
}

function lanConf(options: { directory: string; port: number; serialPort: number; solPort: number }): string {
  const { directory, port, serialPort, solPort } = options;
  const rights = ["callback", "user", "operator", "admin"].map(
    (who) => `    allowed_auths_${who} none md2 md5 straight`,
  );
  return `name "lab"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 ${port}
    priv_limit admin
${rights.join("\n")}
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "${directory}/chassis 0x20"
  serial 15 127.0.0.1 ${solPort} codec VM
  sol "tcp:127.0.0.1:${serialPort}" 115200
  user 1 true  "" "test" user 10 none md2 md5 straight
  user 2 true  "${USER}" "${PASSWORD}" admin 10 none md2 md5 straight
`;
}
