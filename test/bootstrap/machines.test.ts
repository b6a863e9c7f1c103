import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootTarget } from "#api/boot.ts";
import { type ChoiceInput, chooseBoot } from "../../bootstrap/boot-choice.ts";
import type { VerifiedImage } from "../../bootstrap/images.ts";
import { conflict, createMachines } from "../../bootstrap/machines.ts";
import { bootMachine } from "./image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const target = (machines = [bootMachine(MAC)], current?: string): BootTarget =>
  ({
    term: 1,
    seq: 1,
    controlUrls: [],
    caPem: "",
    unknownMachines: "wait",
    machines,
    images: current ? [{ id: current, current: true }] : [],
  }) as unknown as BootTarget;
const image = (id: string) => ({ manifest: { id } }) as VerifiedImage;
const choose = (more: Partial<ChoiceInput> = {}) =>
  chooseBoot({
    target: target(),
    machine: bootMachine(MAC),
    claimed: { mac: MAC },
    hardware: MAC,
    imageOf: image,
    refusalOf: () => undefined,
    ...more,
  });

test("a flood of strangers is capped, and does not push out a machine control knows", () => {
  const machines = createMachines({ maxStrangers: 10, strangersPerSecond: 1e9 });
  machines.setTarget(target());
  machines.see({ mac: MAC, serial: "A1" });
  for (let n = 0; n < 1_000; n++)
    machines.see({
      mac: `52:54:02:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`,
    });
  assert.is(machines.identity(MAC).serial, "A1");
});

test("strangers come in at a limited rate", () => {
  const machines = createMachines({ maxStrangers: 100, strangersPerSecond: 1, nowMs: () => 0 });
  const seen = Array.from({ length: 200 }, (_, n) =>
    machines.see({ mac: `52:54:02:00:00:${n.toString(16).padStart(2, "0")}` }),
  );
  assert.is(seen.filter(Boolean).length, 100);
});

test("what is seen of one card adds up", () => {
  const machines = createMachines();
  machines.see({ mac: MAC, firmware: "bios" });
  assert.equal(machines.see({ mac: MAC, serial: "A1" }), { mac: MAC, firmware: "bios", serial: "A1" });
});

test("what a machine boots: its own image, its profile's, the current one; or the reason why none", () => {
  const own = bootMachine(MAC, { imageId: "own" });
  const profiled = bootMachine(MAC, { profile: { ...bootMachine(MAC).profile, image: "pinned" } });
  const idOf = (choice: ReturnType<typeof choose>) => ("image" in choice ? choice.image.manifest.id : undefined);
  assert.is(idOf(choose({ machine: own })), "own");
  assert.is(idOf(choose({ machine: profiled })), "pinned");
  assert.is(idOf(choose({ target: target([], "latest") })), "latest");
  assert.equal(choose(), { kind: "wait", known: true, why: "there is no boot image yet: flynn image build" });
  const refused = choose({ machine: own, imageOf: () => undefined, refusalOf: () => "initrd is missing" });
  assert.equal(refused, { kind: "wait", known: true, why: "boot image own cannot be served: initrd is missing" });
});

test("without a target, without approval, or told to wait, a machine waits", () => {
  assert.is(choose({ target: undefined, machine: undefined }).kind, "wait");
  assert.is(choose({ machine: undefined }).kind, "wait");
  assert.is(choose({ machine: bootMachine(MAC, { target: "wait" }) }).kind, "wait");
});

test("the wrong card, UUID or serial is refused; what is not known on either side speaks against nothing", () => {
  assert.is(choose({ hardware: "52:54:00:00:00:66" }).kind, "refuse");
  const known = bootMachine(MAC, { serial: "A1", uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0" });
  assert.is(choose({ machine: known, claimed: { mac: MAC, serial: "B2" } }).kind, "refuse");
  assert.is(conflict(known, { mac: MAC }), undefined);
  assert.is(conflict(bootMachine(MAC), { mac: MAC, serial: "B2" }), undefined);
});

test.run();
