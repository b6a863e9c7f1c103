import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import type { Log } from "#lib/log.ts";
import { bootEvents } from "../../hostd/boot-events.ts";
import { containerDns, nameServers } from "../../hostd/dns.ts";
import { addressMark, localAddress, parseAddresses, readFacts } from "../../hostd/facts.ts";
import { newRecord } from "../../hostd/job-record.ts";
import { prunableImages } from "../../hostd/prune.ts";
import { pruneLoop } from "../../hostd/prune-loop.ts";
import { trustRegistry } from "../../hostd/registry-trust.ts";
import { recordsAfter } from "../../hostd/state-file.ts";
import { job, target } from "./jobs.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-facts-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const put = async (path: string, text: string) => {
  await mkdir(join(directory, path, ".."), { recursive: true });
  await writeFile(join(directory, path), text);
};

test("facts are the kernel's: boot id, SMBIOS names, and only cards with a device", async () => {
  await put("proc/sys/kernel/random/boot_id", "6f1c\n");
  await put("sys/class/dmi/id/product_uuid", "4C4C4544-0000\n");
  await put("sys/class/dmi/id/product_serial", "\n");
  await put("sys/class/net/eth0/address", "52:54:00:12:34:56\n");
  await put("sys/class/net/eth0/device/vendor", "0x1af4\n");
  await put("sys/class/net/flynn0/address", "02:42:00:00:00:01\n");
  const facts = await readFacts({
    stateDir: directory,
    controlUrls: ["https://127.0.0.1:7777"],
    sys: join(directory, "sys"),
    proc: join(directory, "proc"),
  });
  assert.is(facts.bootId, "6f1c");
  assert.is(facts.uuid, "4c4c4544-0000");
  assert.not.ok("serial" in facts);
  assert.equal(facts.macs, ["52:54:00:12:34:56"]);
  assert.is(facts.address, "127.0.0.1");
});

test("every address of the machine is a fact, but loopback, link-local and the bridges of jobs and builds", () => {
  const link = (ifname: string, ...addresses: string[]) => ({
    ifname,
    addr_info: addresses.map((local) => ({ family: "inet", local, prefixlen: 24 })),
  });
  const links = [
    link("lo", "127.0.0.1", "9.9.9.7"),
    link("eth0", "10.77.0.2", "192.168.5.2", "10.77.0.2"),
    link("eth1", "169.254.7.7"),
    link("flynn0", "100.64.1.1"),
    link("flynnb0", "172.30.0.1"),
    {},
  ];
  assert.equal(parseAddresses(JSON.stringify(links), ["flynn0", "flynnb0"]), ["10.77.0.2", "192.168.5.2", "9.9.9.7"]);
  assert.equal(parseAddresses("", []), []);
  const many = Array.from({ length: 90 }, (_, n) => `10.0.0.${n}`);
  assert.is(parseAddresses(JSON.stringify([link("eth0", ...many)]), []).length, 64);
});

test("the address is the one from which control is reached; of none that can be reached it is unknown", async () => {
  assert.is(await localAddress(["https://127.0.0.1:1"]), "127.0.0.1");
  assert.is(await localAddress([]), undefined);
});

test("a machine that has no address yet has none to tell, and one as soon as there is a way to control", async () => {
  // In a network of its own that begins with nothing: not even loopback is up.
  const facts = fileURLToPath(new URL("../../hostd/facts.ts", import.meta.url));
  const script = `
    import { execFileSync } from "node:child_process";
    const { localAddress } = await import(${JSON.stringify(facts)});
    const urls = ["https://10.77.0.1:7777", "https://127.0.0.1:1"];
    const found = [await localAddress(urls)];
    execFileSync("ip", ["link", "set", "lo", "up"]);
    found.push(await localAddress(urls));
    console.log(JSON.stringify(found));
  `;
  const { stdout } = await exec(["unshare", "--net", process.execPath, "--input-type=module", "-e", script], {
    timeoutMs: 60_000,
  });
  assert.equal(JSON.parse(stdout), [null, "127.0.0.1"]);
});

test("a change of addresses shows in what is looked at every few seconds", async () => {
  const mark = await addressMark({ controlUrls: ["https://127.0.0.1:1"] });
  assert.match(mark, /^\["127\.0\.0\.1"/);
  assert.is(await addressMark({ controlUrls: ["https://127.0.0.1:1"] }), mark);
  assert.is.not(await addressMark({ controlUrls: [] }), mark);
});

test("containers get the host's name servers, never a loopback one, and else the bridge's gateway", async () => {
  assert.equal(nameServers("# x\nnameserver 127.0.0.53\nnameserver 10.77.0.1\noptions edns0\nnameserver ::1\n"), [
    "10.77.0.1",
  ]);
  await put("stub", "nameserver 127.0.0.53\n");
  await put("real", "nameserver 10.0.0.2\n");
  const subnet = { subnet: "100.64.7.0/24" };
  const files = (...names: string[]) => names.map((name) => join(directory, name));
  assert.equal(containerDns([], files("none", "stub")).of(subnet), ["100.64.7.1"]);
  assert.equal(containerDns([], files("real", "stub")).of(subnet), ["10.0.0.2"]);
  assert.equal(containerDns(["9.9.9.9"], files("real")).of(subnet), ["9.9.9.9"]);
});

test("name servers that have changed are the next container's, and those of containers before stay open to them", async () => {
  const subnet = { subnet: "100.64.7.0/24" };
  await put("lease", "nameserver 10.0.0.2\n");
  const dns = containerDns([], [join(directory, "lease")]);
  assert.equal(dns.of(subnet), ["10.0.0.2"]);
  await put("lease", "nameserver 10.0.0.3\n");
  assert.equal(dns.of(subnet), ["10.0.0.3"]);
  assert.equal(dns.open(subnet), ["10.0.0.3", "10.0.0.2"]);
  for (let n = 0; n < 20; n++) {
    await put("lease", `nameserver 10.1.0.${n}\n`);
    dns.of(subnet);
  }
  assert.equal(dns.open(subnet).slice(0, 2), ["10.1.0.19", "10.1.0.18"]);
  assert.is(dns.open(subnet).length, 8);
});

test("an image that cannot be removed keeps no other, is told once, and is tried again", async () => {
  const stop = new AbortController();
  const refs = Array.from({ length: 8 }, (_, n) => `127.0.0.1:5000/apps/a@sha256:${n}`);
  const present = new Set(refs);
  const tried: string[] = [];
  const warned: string[] = [];
  const warn = ({ image }: { image: string }) => void warned.push(image);
  const log = { info: () => undefined, warn } as unknown as Log;
  let turns = 0;
  await pruneLoop({
    engine: {
      images: async () => [...present].map((ref) => ({ ref, sizeBytes: 1 })),
      async removeImage(ref) {
        tried.push(ref);
        if (ref === refs[0]) throw new Error("conflict: a container made by hand uses it");
        present.delete(ref);
      },
    },
    agent: { target: () => target([]), used: () => ({ images: new Set(), logs: new Set() }) },
    logs: {
      async prune() {
        if (++turns === 3) stop.abort();
        return [];
      },
    },
    healthy: () => true,
    log,
    signal: stop.signal,
    everyMs: 0,
    unusedForMs: 0,
    keep: 0,
  });
  assert.equal([...present], [refs[0]]);
  assert.is(tried.filter((ref) => ref === refs[0]).length, 3);
  assert.equal(warned, [refs[0]]);
});

test("only images unused for an hour go, and never the newest few", () => {
  const refs = ["a", "b", "c", "d", "e"];
  const lastUsedMs = new Map(refs.map((ref, n) => [ref, n * 60_000]));
  const at = (nowMs: number, keep: number) =>
    prunableImages({ refs, used: new Set(["a"]), lastUsedMs, nowMs, keep, unusedForMs: 3_600_000 });
  assert.equal(at(3_600_000, 1), []);
  assert.equal(at(3_600_000 + 120_000, 1), ["c", "b"]);
  assert.equal(at(1e9, 1), ["d", "c", "b"]);
  assert.equal(at(1e9, 5), []);
  assert.equal(prunableImages({ refs: ["new"], used: new Set(), lastUsedMs: new Map(), nowMs: 1e9, keep: 0 }), []);
});

test("images of an earlier stack go after an hour, and take no place of an app's image", () => {
  const app = (sign: string) => `r:1/apps/a@sha256:${sign}`;
  const stack = (sign: string) => `r:1/stack/builder@sha256:${sign}`;
  const refs = [app("1"), app("2"), stack("old"), stack("now")];
  const lastUsedMs = new Map([
    [app("1"), 0],
    [app("2"), 1],
    [stack("old"), 2],
  ]);
  const at = (nowMs: number) => prunableImages({ refs, used: new Set([stack("now")]), lastUsedMs, nowMs, keep: 2 });
  assert.equal(at(3_600_000), []);
  assert.equal(at(2 * 3_600_000), [stack("old")]);
});

test("a registry's name is a directory of one level or an error", async () => {
  const identity = { certificate: "C", key: "K", caPem: "CA" };
  for (const registry of ["../../etc", "a/b", "", "..", "h:port"]) {
    const error = await trustRegistry({ certsDir: directory, registry, identity }).catch((caught: unknown) => caught);
    assert.instance(error, Error, registry);
  }
});

test("what `hostd disk` did is told once per boot", async () => {
  await put("run/disk.json", JSON.stringify({ reason: "state on /dev/vda", warn: false }));
  const runDir = join(directory, "run");
  const first = await bootEvents({ runDir, told: [] });
  assert.equal(
    first.pending().map(({ stage, level, message }) => [stage, level, message]),
    [["disk", "info", "state on /dev/vda"]],
  );
  first.told(first.pending());
  assert.equal(first.pending(), []);
  for (const key of ["disk:/dev/vdb:read:1", "disk:/dev/vdb:read:2", "disk:/dev/vdb:read:1"])
    first.add("disk", "info", key, { key });
  assert.equal(
    first.pending().map(({ message }) => message),
    ["disk:/dev/vdb:read:1", "disk:/dev/vdb:read:2"],
  );
  first.told(first.pending());
  const second = await bootEvents({ runDir, told: first.toldStages() });
  assert.equal(second.pending(), []);
});

test("after another boot records keep their counts and forget the old clock", () => {
  const record = {
    ...newRecord(job()),
    crashes: 3,
    startAfterMs: 9e9,
    upSinceMs: 5,
    stoppingSinceMs: 7,
    waitsSinceMs: 9,
  };
  const kept = { bootId: "a", savedAt: "", nowMs: 0, fresh: true, engineHealthy: true, records: [record] };
  const state = { ...kept, containers: [], busy: [], captured: [], told: [] };
  assert.equal(recordsAfter(state, "a").get("j1"), record);
  const next = recordsAfter(state, "b").get("j1")!;
  assert.is(next.crashes, 3);
  assert.is(next.startAfterMs, 0);
  assert.is(next.upSinceMs, undefined);
  assert.is(next.stoppingSinceMs, undefined);
  assert.is(next.waitsSinceMs, undefined);
});

test.run();
