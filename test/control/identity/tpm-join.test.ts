// `--require-tpm`: a machine is bound to the TPM of the inventory that a person approved, and a clone with another TPM does not join.
import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { postBootEvents, signJoinGrant } from "#api/boot.ts";
import type { Fault } from "#api/fault.ts";
import { reportMachineInventory } from "#api/inventory.ts";
import { approveMachine, getMachine, machineTimeline } from "#api/machines.ts";
import { listEvents } from "#api/status.ts";
import type { TpmQuote } from "#api/tpm.ts";
import { factsOf, type Member, type Rig, withRig } from "../rig.ts";
import { softTpm } from "./soft-tpm.ts";

const MAC = "52:54:00:00:00:01";
const strict = { loops: false, requireTpm: true };
const params = { id: MAC };

/** A machine that waited, said which TPM it has (or that it has none), and was approved. */
async function approved(rig: Rig, boot: Member, tpmId: string | undefined): Promise<void> {
  const seen = { claimed: { mac: MAC, whole: true }, observed: { card: MAC }, at: "2026-01-01T00:00:00Z" };
  const event = { ...seen, eventId: randomUUID(), stage: "script" as const, level: "info" as const, message: "script" };
  await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events: [event] } });
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const report = JSON.stringify({
    ...{ mac: MAC, system: {}, firmware: { mode: "uefi" }, disks: [], nics: [], unread: [] },
    cpu: { model: "", sockets: 1, cores: 1, threads: 1, flags: [] },
    memory: { totalBytes: 1, dimms: [] },
    tpm: { version: "2.0", ...(tpmId === undefined ? {} : { id: tpmId }) },
  });
  const key = publicKey.export({ format: "der", type: "spki" }).toString("base64");
  const signature = sign(null, Buffer.from(report), privateKey).toString("base64");
  await boot.client.call(reportMachineInventory, {
    params: { id: boot.id },
    body: { report, key, signature, mac: MAC, observed: { card: MAC }, at: "2026-01-01T00:01:00Z" },
  });
  const { check } = await rig.admin.call(getMachine, { params });
  await rig.admin.call(approveMachine, { params, body: { claim: check!.claim } });
}

async function join(rig: Rig, boot: Member, quote?: (token: string) => TpmQuote): Promise<string> {
  const { id: machineId } = await rig.admin.call(getMachine, { params });
  const token = signJoinGrant(
    {
      ...{ bootServerId: boot.id, machineId, bootId: `boot-${randomUUID()}`, mac: MAC },
      ...{ expiresAtMs: Date.now() + 60_000, nonce: randomUUID() },
    },
    boot.key,
  );
  const facts = { ...factsOf("box"), macs: [MAC] };
  const more = quote === undefined ? {} : { tpm: quote(token) };
  return rig.join("host", { token, facts, ...more }).then(
    () => "joined",
    (error: Fault) => `${error.code}: ${error.message}`,
  );
}

test("with the TPM that it was approved with its host joins; a clone with another TPM does not, and an event names both", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const [own, clone] = [softTpm(), softTpm()];
    await approved(rig, boot, own.id);
    assert.is((await rig.admin.call(getMachine, { params })).tpm, own.id);
    assert.match(
      await join(rig, boot, clone.quote),
      /^forbidden: this is not the TPM that the machine was approved with/,
    );
    const { items } = await rig.admin.call(listEvents, {});
    const told = items.map(({ message }) => message).join("\n");
    assert.ok(told.includes(own.id.slice(0, 12)) && told.includes(clone.id.slice(0, 12)), told);
    const steps = (await rig.admin.call(machineTimeline, { params })).items.map(({ message }) => message).join("\n");
    assert.match(steps, /a clone, or a new mainboard/);
    assert.is(await join(rig, boot, own.quote), "joined");
  }, strict));

test("without a quote, and with one of another boot, nobody joins", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const own = softTpm();
    await approved(rig, boot, own.id);
    assert.match(await join(rig, boot), /^forbidden: the join needs a quote of the machine's TPM/);
    assert.match(
      await join(rig, boot, () => own.quote("fjg_earlier.boot")),
      /^forbidden: its quote is of another boot/,
    );
  }, strict));

test("a machine that was approved without a TPM does not join, and is told so in words", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    await approved(rig, boot, undefined);
    assert.match(await join(rig, boot, softTpm().quote), /^forbidden: this machine was approved without a TPM/);
  }, strict));

test("where no TPM is required a quote is not looked at", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      await approved(rig, boot, softTpm().id);
      assert.is(await join(rig, boot), "joined");
    },
    { loops: false },
  ));

test.run();
