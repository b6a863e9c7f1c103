// `flynn machine wipe`: what is on each disk is shown, and a disk is given up only by machine and fingerprint, typed out.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { postBootEvents } from "#api/boot.ts";
import { getMachineDisks, type MachineDisk, type MachineDisks, reportHostDisks } from "#api/disks.ts";
import { hostTarget } from "#api/host-agents.ts";
import { reportHostWipe } from "#api/wipes.ts";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { keys } from "../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../control/records.ts";
import { type Member, rig } from "../control/rig.ts";
import { type InvokeOptions, invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-wipe-"));
const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const control = await rig({ loops: false, diskPolicy: "find-empty" });
const flynn = (line: string, options: InvokeOptions = {}) =>
  invoke(line.split(" "), { cwd: directory, env, ...options });
const full: MachineDisk = {
  path: "/dev/sda",
  model: "QEMU",
  serial: "S1",
  sizeBytes: 8 * 1024 ** 3,
  holds: "holds ext4 (label backup)",
  canWipe: true,
  fingerprint: "0123456789ab".padEnd(64, "0"),
  transport: "nvme",
  media: "ssd",
  standing: "full",
  contents: ["ext4 labelled backup, 12 GiB used of 100 GiB", "a GPT with 2 partitions"],
};
const root: MachineDisk = {
  ...full,
  path: "/dev/sdb",
  serial: "S2",
  holds: "is mounted",
  canWipe: false,
  standing: "unfit",
};
const blank: MachineDisk = {
  ...full,
  path: "/dev/sdc",
  serial: "S3",
  holds: "shows nothing but zeros at both ends",
  standing: "open",
  contents: [],
  transport: "sata",
  fingerprint: "f".repeat(64),
};
const machine = { name: "", id: "" };
let hostClient: Member["client"];
let hostId = "";
const order = async () => (await control.admin.call(getMachineDisks, { params: { id: machine.id } })).order?.path;

test.before(async () => {
  const { url, caPem, token } = control;
  await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
  const [boot, host] = [await control.join("boot"), await control.host("h1")];
  const claimed = { mac: "52:54:00:00:00:99" };
  const event = {
    eventId: "e1",
    at: "2026-01-01T00:00:00Z",
    claimed,
    observed: {},
    level: "info" as const,
    message: "seen",
  };
  const seen = await boot.client.call(postBootEvents, {
    params: { id: boot.id },
    body: { events: [{ ...event, stage: "discover" }] },
  });
  machine.id = seen.machines[0]!.machineId;
  machine.name = "node-000099";
  const none = await flynn(`machine wipe ${machine.name}`);
  assert.match(none.err, /has not reported its disks yet/);
  [hostClient, hostId] = [host.client, host.id];
  const record = control.store.get<HostRecord>(keys.host(host.id))!.value;
  const value = { ...record, machineId: machine.id };
  const found = control.store.get<MachineRecord>(keys.machine(machine.id))!.value;
  const linked = { ...found, hostId: host.id, state: "ready" };
  await control.store.commit({
    actor: "test",
    mutations: [
      { key: keys.host(host.id), value },
      { key: keys.machine(machine.id), value: linked },
    ],
  });
  await host.client.call(reportHostDisks, { params: { id: host.id }, body: { disks: [full, root, blank] } });
});

test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

test("without a disk it lists what is on each, with fingerprints", async () => {
  const { out, code } = await flynn(`machine wipe ${machine.name}`);
  assert.is(code, 0);
  assert.match(out, /^\/dev\/sda +QEMU +S1 +8 GiB +0123456789ab +holds ext4 \(label backup\)$/m);
  const json = JSON.parse((await flynn(`machine wipe ${machine.name} --json`)).out) as { disks: unknown[] };
  assert.is(json.disks.length, 3);
});

test("machine disks shows what its policy would do with each, what a wipe would lose, and what another policy would do", async () => {
  const { out, err, code } = await flynn(`machine disks ${machine.name}`);
  assert.is(code, 0, err);
  assert.match(out, /^\/dev\/sda +8 GiB +nvme ssd +QEMU +S1 +leave +holds ext4 \(label backup\)$/m);
  assert.match(out, /^\/dev\/sdc .* take +shows nothing but zeros at both ends; it is read before/m);
  assert.match(
    out,
    /\/dev\/sda: a wipe would lose\n {2}ext4 labelled backup, 12 GiB used of 100 GiB\n {2}a GPT with 2/,
  );
  assert.match(err, /policy find-empty.*: the state goes to \/dev\/sdc \(8 GiB\) if every byte of it is read as zero/);
  const named = await flynn(`machine disks ${machine.name} --disk named --disk-serial S1`);
  assert.match(named.err, /the state stays in RAM: no disk that policy named means is empty/);
  const nvme = await flynn(`machine disks ${machine.name} --disk-transport nvme`);
  assert.match(nvme.out, /^\/dev\/sdc .* leave +is attached by sata, not nvme/m);
  assert.is((await flynn(`machine disks ${machine.name} --disk-media tape`)).code, 2);
  const { plan } = JSON.parse((await flynn(`machine disks ${machine.name} --json`)).out) as MachineDisks;
  assert.equal(
    plan?.disks.map(({ will }) => will),
    ["leave", "leave", "take"],
  );
});

test("nothing is ordered until machine and fingerprint are typed", async () => {
  for (const line of ["", " --confirm sda", ` --confirm ${machine.name}`, ` --confirm ${machine.name}/ffffffffffff`])
    assert.is((await flynn(`machine wipe ${machine.name} /dev/sda${line}`)).code, 2, line);
  const blind = await flynn(`machine wipe ${machine.name} /dev/sda`);
  assert.match(blind.err, /WARNING: all that is on \/dev\/sda, QEMU, S1, 8 GiB of node-000099 is lost: it holds ext4/);
  assert.match(blind.err, `--confirm ${machine.name}/0123456789ab`);
  const asked = { terminal: { in: true }, typed: machine.name };
  assert.is((await flynn(`machine wipe ${machine.name} /dev/sda`, asked)).code, 2);
  assert.is(await order(), undefined);
});

test("a disk is named by path, serial number or fingerprint; one that is in use or unknown is refused", async () => {
  const confirm = `--confirm ${machine.name}/0123456789ab`;
  for (const name of ["/dev/sda", "S1"]) {
    assert.is((await flynn(`machine wipe ${machine.name} ${name} --take ${confirm}`)).code, 0, name);
    assert.is(await order(), "/dev/sda");
    assert.match((await flynn(`machine wipe ${machine.name}`)).err, /\/dev\/sda is erased at the next boot/);
    assert.is((await flynn(`machine wipe ${machine.name} --cancel`)).code, 0);
    assert.is(await order(), undefined);
  }
  const used = await flynn(`machine wipe ${machine.name} /dev/sdb ${confirm}`);
  assert.match(used.err, /\/dev\/sdb is mounted; it cannot be wiped. Nothing was done/);
  assert.match((await flynn(`machine wipe ${machine.name} 0123456789ab ${confirm}`)).err, /2 disks .* are named/);
  assert.match((await flynn(`machine wipe ${machine.name} /dev/sdx`)).err, /no disk \/dev\/sdx; it has \/dev\/sda/);
  assert.is((await flynn(`machine wipe ${machine.name} --cancel`)).code, 3, "there is no order");
  assert.is((await flynn(`machine wipe ${machine.name} /dev/sda --cancel`)).code, 2);
});

test("without --take the host that runs is told to wipe, and reads back; the order and the proof are shown", async () => {
  const confirm = `--confirm ${machine.name}/0123456789ab`;
  assert.is((await flynn(`machine wipe ${machine.name} /dev/sda ${confirm} --method burn`)).code, 2);
  const given = await flynn(`machine wipe ${machine.name} /dev/sda ${confirm} --method zero --detach`);
  assert.is(given.code, 0, given.err);
  assert.match(given.out, /waits for host h1 to begin with \/dev\/sda/);
  assert.match((await flynn(`machine disks ${machine.name} --proofs`)).err, /no disk of it was wiped/);
  const params = { id: hostId };
  const { wipes = [] } = await hostClient.call(hostTarget, { params });
  assert.equal(
    wipes.map(({ path, method, begun }) => [path, method, begun]),
    [["/dev/sda", "zero", false]],
  );
  const { orderId, fingerprint } = wipes[0]!;
  const now = new Date().toISOString();
  const evidence = { did: "zeros written", bytesRead: full.sizeBytes, startedAt: now, endedAt: now, seconds: 61.2 };
  await hostClient.call(reportHostWipe, {
    params,
    body: { orderId, fingerprint, state: "done", step: "/dev/sda: wiped", percent: 100, evidence },
  });
  const proofs = await flynn(`machine disks ${machine.name} --proofs`);
  assert.match(proofs.out, /^Held: +8 GiB: ext4 labelled backup, 12 GiB used of 100 GiB; a GPT with 2 partitions$/m);
  assert.match(proofs.out, /^Result: +all 8589934592 bytes read as zero$/m);
  const kept = JSON.parse((await flynn(`machine disks ${machine.name} --proofs --json`)).out) as { serial: string }[];
  assert.is(kept[0]!.serial, "S1");
  assert.match((await flynn(`machine orders ${machine.name}`)).out, /wipe +done .*every byte read back as zero/);
});

test("a whole machine is confirmed by its name and how many disks it is", async () => {
  for (const line of ["", " --confirm node-000099", " --confirm node-000099/3", " --confirm node-000099/0123456789ab"])
    assert.is((await flynn(`machine wipe ${machine.name} --all${line}`)).code, 2, line);
  const given = await flynn(`machine wipe ${machine.name} --all --confirm ${machine.name}/2 --detach`);
  assert.is(given.code, 0, given.err);
  assert.match(given.err, /\/dev\/sdb is mounted: it is not wiped/);
  assert.match(given.out, /to begin with \/dev\/sda, \/dev\/sdc/);
  const stopped = await flynn(`machine wipe ${machine.name} --cancel`);
  assert.is(stopped.code, 0, stopped.err);
  assert.is((await hostClient.call(hostTarget, { params: { id: hostId } })).wipes, undefined);
});

test.run();
