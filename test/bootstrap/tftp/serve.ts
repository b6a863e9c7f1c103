// Our server in a process of its own, for tests and the bench that must not share its event loop. argv: one JSON object;
// tells {port} over IPC, ends when its parent does. With `loss` it first makes this process's network, which must be
// one of its own (`unshare --net`), lose that share of all UDP packets.
import { readFileSync } from "node:fs";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { fixedFiles } from "../../../bootstrap/tftp/files.ts";
import { tftpServer } from "../../../bootstrap/tftp/server.ts";

export interface ServeOptions {
  address: string;
  files: Record<string, string>;
  loss?: number;
  singlePort?: boolean;
}

const { address, files, loss, singlePort } = JSON.parse(process.argv[2]!) as ServeOptions;
process.on("disconnect", () => process.exit(0));
if (loss !== undefined) {
  await exec(["ip", "link", "set", "lo", "up"]);
  const rule = [
    "-i",
    "lo",
    "-p",
    "udp",
    "-m",
    "statistic",
    "--mode",
    "random",
    "--probability",
    String(loss),
    "-j",
    "DROP",
  ];
  await exec(["iptables", "-A", "INPUT", ...rule]);
}
const server = await tftpServer({
  address,
  port: 0,
  files: fixedFiles(Object.entries(files).map(([name, path]) => [name, readFileSync(path)] as const)),
  log: silentLog(),
  limits: { transfersPerClient: 512 },
  singlePort,
});
process.on("message", () => process.send?.({ stats: server.stats }));
process.send?.({ port: server.address.port });
