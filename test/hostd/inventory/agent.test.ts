// The agent of a machine that waits: what it reads from the kernel's command line, what each answer makes it do, and its whole run
// against a boot server that speaks real HTTP.
import { createPublicKey, verify } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { Ajv } from "ajv";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkOf } from "#api/check-words.ts";
import { InventoryReport, type SignedInventory } from "#api/inventory.ts";
import { actOf, inventoryBoot, REFUSALS_MOST, toldBy } from "../../../hostd/inventory/agent.ts";
import { collect, fitted, readIdentity } from "../../../hostd/inventory/collect.ts";
import { inventoryCommand } from "../../../hostd/inventory/command.ts";
import { dimm, lldpFrame, savedFrames, structure, table } from "./fixtures.ts";

const MAC = "52:54:00:00:00:01";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const NONCE = "n".repeat(40);

/** A small machine as files: one card with a switch behind it, a module of memory, a TPM, a memory controller with errors. */
async function machineFiles(root: string): Promise<{ sys: string; proc: string; dev: string; lldp: string }> {
  const [sys, proc, dev, lldp] = ["sys", "proc", "dev", "lldp"].map((name) => join(root, name)) as [
    string,
    string,
    string,
    string,
  ];
  const files: Record<string, string | Buffer> = {
    [`${sys}/firmware/dmi/tables/DMI`]: table(
      structure(1, [1, 2, 0, 0], ["Maker", "Box 9"]),
      dimm({ slot: "A1", megabytes: 2048, kind: 26, serial: "77" }),
    ),
    [`${sys}/class/dmi/id/product_uuid`]: `${UUID.toUpperCase()}\n`,
    [`${sys}/class/dmi/id/product_serial`]: "CZ1234\n",
    [`${sys}/class/net/eth0/address`]: `${MAC}\n`,
    [`${sys}/class/net/eth0/carrier`]: "1\n",
    [`${sys}/class/net/eth0/speed`]: "1000\n",
    [`${sys}/class/net/eth0/ifindex`]: "2\n",
    [`${sys}/class/net/eth0/device/vendor`]: "0x1af4\n",
    [`${sys}/class/net/lo/address`]: "00:00:00:00:00:00\n",
    [`${sys}/class/tpm/tpm0/tpm_version_major`]: "2\n",
    [`${sys}/class/tty/console/active`]: "tty0 ttyS0\n",
    [`${sys}/devices/system/edac/mc/mc0/ce_count`]: "3\n",
    [`${sys}/devices/system/edac/mc/mc0/ue_count`]: "0\n",
    [`${proc}/cpuinfo`]: "processor\t: 0\nmodel name\t: Some CPU\nflags\t: vmx\n",
    [`${lldp}/2`]: savedFrames(lldpFrame({ system: "tor-3", port: "7" })),
    [`${dev}/tty0`]: "",
    [`${dev}/ttyS0`]: "",
  };
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  return { sys, proc, dev, lldp };
}

async function withMachine(work: (of: Awaited<ReturnType<typeof machineFiles>>) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-agent-"));
  try {
    await work(await machineFiles(root));
  } finally {
    await rm(root, { recursive: true });
  }
}

test("the kernel's command line says whom to tell and which card it booted from; anything else is no boot for an inventory", () => {
  const url = `http://10.77.0.1:7780/i/${NONCE}`;
  assert.equal(inventoryBoot(`boot=live BOOTIF=01-52-54-00-00-00-01 flynn.inventory=${url} quiet\n`), {
    url,
    mac: MAC,
  });
  assert.equal(inventoryBoot(`flynn.inventory=${url}`), { url, mac: undefined });
  for (const wrong of [
    "boot=live ds=nocloud-net;s=http://10.77.0.1:7780/s/token/",
    "flynn.inventory=",
    `flynn.inventory=https://10.77.0.1/i/${NONCE}`,
    `flynn.inventory=http://10.77.0.1:7780/x/${NONCE}`,
    `xflynn.inventory=${url}`,
    `flynn.inventory=${url}more`,
  ])
    assert.is(inventoryBoot(wrong), undefined, wrong);
});

test("what each answer makes it do: report when another or no report is known, restart, switch off, or ask on", () => {
  const own = "0123456789abcdef";
  const cases: [number, string, number, string][] = [
    [200, '{"state":"waiting"}', 0, "report"],
    [200, `{"state":"waiting","claim":"${own}"}`, 0, "wait"],
    [200, '{"state":"waiting","claim":"ffffffffffffffff"}', 0, "report"],
    [200, '{"state":"approved"}', 0, "restart"],
    [200, '{"state":"rejected"}', 0, "power-off"],
    [200, '{"state":"on fire"}', 0, "wait"],
    [200, "null", 0, "wait"],
    [200, "<html>", 0, "wait"],
    [403, "no\n", 0, "wait"],
    [403, "no\n", REFUSALS_MOST, "restart"],
    [429, "", REFUSALS_MOST, "wait"],
    [500, "", REFUSALS_MOST, "wait"],
  ];
  for (const [status, body, refusals, act] of cases)
    assert.is(actOf(toldBy(status, body), { claim: own, refusals }), act, `${status} ${body}`);
});

test("the report of a machine is what its files say, and passes the schema", () =>
  withMachine(async ({ sys, proc, lldp }) => {
    const report = await collect({
      ...{ identity: (await readIdentity(MAC, sys))!, sys, proc, lldp, signal: new AbortController().signal },
      readDisks: async () => [{ path: "/dev/sda", sizeBytes: 5, removable: false, holds: "ext4" }],
    });
    const ajv = new Ajv({ strict: false, validateSchema: false });
    assert.ok(ajv.validate(InventoryReport, report), ajv.errorsText());
    assert.equal([report.uuid, report.serial, report.system.product], [UUID, "CZ1234", "Box 9"]);
    assert.equal(report.tpm, { version: "2.0" });
    assert.equal([report.memory.correctedErrors, report.memory.dimms[0]!.serial], [3, "77"]);
    assert.equal(report.nics.length, 1);
    assert.equal([report.nics[0]!.speedMbps, report.nics[0]!.neighbour!.system], [1000, "tor-3"]);
  }));

test("a reader that fails is a line of the report, and the others stand", () =>
  withMachine(async ({ sys, proc, lldp }) => {
    const report = await collect({
      ...{ identity: (await readIdentity(MAC, sys))!, sys, proc, lldp, signal: new AbortController().signal },
      readDisks: () => Promise.reject(new Error("lsblk exited 1")),
    });
    assert.equal(report.disks, []);
    assert.equal(report.unread, ["disks: lsblk exited 1"]);
    assert.is(report.cpu.model, "Some CPU");
  }));

test("a report that would be too long to send loses details, never its meaning, and says so", () =>
  withMachine(async ({ sys, proc, lldp }) => {
    const disk = { path: "/dev/sda", sizeBytes: 5, removable: false, holds: "x".repeat(200), serial: "y".repeat(96) };
    const small = await collect({
      ...{ identity: (await readIdentity(MAC, sys))!, sys, proc, lldp, signal: new AbortController().signal },
      readDisks: async () => Array.from({ length: 64 }, () => disk),
    });
    const short = fitted(small, 8_000);
    assert.ok(JSON.stringify(short).length <= 8_000);
    assert.ok(short.disks.length > 0);
    assert.match(short.unread.join(), /too long/);
    assert.is(fitted(small, 1e9), small);
  }));

interface Seen {
  reports: SignedInventory[];
  asks: number;
}

/** Runs the agent against a server that answers by `answer`; what was on its two consoles at the end. */
async function runAgent(
  of: Awaited<ReturnType<typeof machineFiles>>,
  answer: (seen: Seen) => { status: number; body: object | string },
): Promise<Seen & { ended: string[]; consoles: [string, string]; code: number }> {
  const seen: Seen = { reports: [], asks: 0 };
  const server = createServer(async (asked, reply) => {
    if (asked.method === "POST") seen.reports.push(JSON.parse(await readText(asked)) as SignedInventory);
    else seen.asks++;
    const { status, body } = answer(seen);
    reply.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const line = `BOOTIF=01-${MAC.replaceAll(":", "-")} flynn.inventory=http://127.0.0.1:${port}/i/${NONCE}\n`;
  await writeFile(join(of.proc, "cmdline"), line);
  const ended: string[] = [];
  try {
    const code = await inventoryCommand({
      ...{ ...of, signal: AbortSignal.timeout(60_000), askMs: 1, farewellMs: 0 },
      end: async (how) => void ended.push(how),
    });
    const consoles = await Promise.all(["tty0", "ttyS0"].map((name) => readFile(join(of.dev, name), "utf8")));
    return { ...seen, ended, code, consoles: consoles as [string, string] };
  } finally {
    server.close();
  }
}

const claimOf = ({ report, key }: SignedInventory) => {
  const { mac, uuid, serial } = JSON.parse(report) as InventoryReport;
  return checkOf({ mac, uuid, serial }, key);
};

test("it reports once, signed by a key of its own, and restarts when it was approved", () =>
  withMachine(async (of) => {
    const { reports, ended, code } = await runAgent(of, ({ reports: sent, asks }) => ({
      status: 200,
      body:
        asks > 3 ? { state: "approved" } : { state: "waiting", ...(sent[0] ? { claim: claimOf(sent[0]).claim } : {}) },
    }));
    assert.is(reports.length, 1);
    const [{ report, key, signature }] = reports as [SignedInventory];
    const spki = createPublicKey({ key: Buffer.from(key, "base64"), format: "der", type: "spki" });
    assert.ok(verify(null, Buffer.from(report), spki, Buffer.from(signature, "base64")));
    assert.equal([ended, code], [["reboot"], 0]);
  }));

test("its words are on every console, and are those that the appliance makes of its report", () =>
  withMachine(async (of) => {
    let words = "";
    const shown: string[] = [];
    await runAgent(of, ({ reports }) => {
      if (reports[0] === undefined) return { status: 200, body: { state: "waiting" } };
      words = claimOf(reports[0]).words;
      return { status: 200, body: { state: "rejected" } };
    }).then(({ consoles }) => shown.push(...consoles));
    assert.is(shown.length, 2);
    for (const screen of shown) {
      assert.match(screen, `\r\n    ${words}\r\n`);
      assert.match(screen, "a person rejected this machine");
    }
    assert.match(words, /^[a-z]+( [a-z]+){5}$/);
  }));

test("a boot server that is away, or that does not know it, is asked on; known nowhere for long, it starts over", () =>
  withMachine(async (of) => {
    const { ended, asks, reports } = await runAgent(of, ({ asks: n }) =>
      n < 5 ? { status: 500, body: "" } : { status: 403, body: "no\n" },
    );
    assert.equal(ended, ["reboot"]);
    assert.equal(reports, []);
    assert.ok(asks > REFUSALS_MOST);
  }));

test("another agent in its card's name makes it report again", () =>
  withMachine(async (of) => {
    const { reports } = await runAgent(of, ({ asks }) => ({
      status: 200,
      body: asks > 4 ? { state: "approved" } : { state: "waiting", claim: "ffffffffffffffff" },
    }));
    assert.ok(reports.length > 1);
    assert.is(new Set(reports.map(({ key }) => key)).size, 1);
  }));

test("without the kernel's word it does nothing, and says why", () =>
  withMachine(async (of) => {
    await writeFile(join(of.proc, "cmdline"), "boot=live\n");
    assert.is(await inventoryCommand({ ...of, signal: AbortSignal.timeout(10_000) }), 2);
  }));

test.run();
