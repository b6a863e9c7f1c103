// Who is answered by DHCP and TFTP at all: the boot server on its real sockets, asked from addresses of jobs, and in the name of a
// relay by somebody else. HTTP is the same rule's, seen in lab/identity.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { openLan } from "../lab/network.ts";
import { openScope, withScope } from "../lab/scope.ts";
import type { Answered } from "./gates-asker.ts";
import { bootTarget, writeImage } from "./image-fixture.ts";
import type { ServeOptions } from "./serve.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const JOB = "10.77.0.130";
const MACHINE = "10.77.0.200";
const RELAY = "10.88.0.1";

// Held for the whole file: when a process's last scope closes, its watchdog cleans up whatever bears the process's name.
const file = await openScope();
test.after(() => file.close());

test("a job is answered by neither DHCP nor TFTP and is not even read, nor is who only names a relay; a machine is", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    const machine = await lan.host("metal", MACHINE);
    // One card for both, so that their packets stay in order.
    await machine.exec(["ip", "address", "add", `${JOB}/24`, "dev", "eth0"]);
    const fixture = await writeImage(scope.folder);
    const stateDir = join(scope.folder, "state");
    await mkdir(stateDir);
    const targetFile = join(scope.folder, "target.json");
    const target = bootTarget([], fixture.manifest, { jobNetworks: ["10.77.0.128/26"] });
    await writeFile(targetFile, JSON.stringify(target));
    const config: ServeOptions["config"] = {
      interface: lan.bridge,
      mode: "full",
      controlUrls: ["https://10.77.0.1:7777"],
      caFile: "",
      stateDir,
      imagesDir: fixture.imagesDir,
      imageKeyFile: fixture.keyFile,
      range: "10.77.0.50-10.77.0.99",
      relays: [`${RELAY}/24`],
    };
    const argv = [process.execPath, here("serve.ts"), JSON.stringify({ config, targetFile } satisfies ServeOptions)];
    const server = await lan.spawn(argv, { name: "boot" });
    await server.waitFor(/ready/, 30_000);
    const askers = [JOB, `${MACHINE},${RELAY}`, MACHINE];
    const { stdout } = await machine.exec([process.execPath, here("gates-asker.ts"), lan.ip, ...askers], {
      timeoutMs: 60_000,
    });
    const [job, impostor, itself] = JSON.parse(/^answered (.*)$/m.exec(stdout)![1]!) as Answered[];
    assert.equal(itself, { dhcp: true, tftp: true }, "the machine");
    assert.equal(job, { dhcp: false, tftp: false }, "a job");
    assert.is(impostor!.dhcp, false, "who names a relay that it is not");
    await server.kill("SIGUSR2"); // a question, not an end: serve.ts answers it
    const memory = await until(() => /^memory (.*)$/m.exec(server.output())?.[1], {
      what: "the server's counts",
      timeoutMs: 30_000,
    });
    // Each asker sent one that is no DHCP packet: the job's was dropped before it was read.
    const { received, malformed } = JSON.parse(memory) as { received: number; malformed: number };
    assert.equal({ received, malformed }, { received: 6, malformed: 2 });
  }));

test.run();
