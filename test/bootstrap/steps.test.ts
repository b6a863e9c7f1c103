// What DHCP decisions become on a timeline: a claim each, never more.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify } from "../../bootstrap/dhcp/classify.ts";
import { createLeases } from "../../bootstrap/dhcp/leases.ts";
import { offer } from "../../bootstrap/dhcp/offer.ts";
import { onceIn } from "../../bootstrap/once-in.ts";
import { newProbeCard } from "../../bootstrap/preflight/card.ts";
import { dhcpSteps } from "../../bootstrap/steps/dhcp.ts";
import { httpFileSteps, tftpSteps, transferStep, unknownFileSteps } from "../../bootstrap/steps/files.ts";
import type { Happening } from "../../bootstrap/timeline.ts";
import { bios, MAC, uefi } from "./dhcp/packets.ts";

function stepsOf(mode: "full" | "proxy", ...packets: ReturnType<typeof bios>[]): Happening[] {
  const events: Happening[] = [];
  const tell = dhcpSteps({ timeline: { record: (event) => void events.push(event) }, mode });
  const leases = createLeases({ first: "10.77.0.50", last: "10.77.0.99" });
  const config = {
    mode,
    address: "10.77.0.1",
    network: { address: "10.77.0.0", prefix: 24 },
    httpPort: 7780,
    loaders: ["ipxe" as const],
    served: new Set(["undionly.kpxe", "snponly.efi"]),
    router: undefined,
    dns: [],
    ntp: [],
    domain: undefined,
    leaseMs: 3_600_000,
    quarantineMs: 600_000,
  };
  for (const packet of packets) {
    const client = classify(packet)!;
    const source = { address: "0.0.0.0", port: 68 };
    const machine = { mayBoot: true };
    tell(client, offer({ packet, client, port: 67, source, machine, leases, rung: 0, config, nowMs: 0 }));
  }
  return events;
}

test("a DHCP packet is a claim: nothing was seen of whoever sent it", () => {
  const events = stepsOf("proxy", bios(), bios());
  assert.equal(
    events.map(({ stage }) => stage),
    ["discover", "offer"],
  );
  for (const { claimed, observed } of events) {
    assert.is(claimed.mac, MAC);
    assert.is(claimed.whole, undefined);
    assert.is(observed, undefined);
  }
});

test("firmware that we have no file for is told of by its architecture, once, in both modes", () => {
  for (const mode of ["full", "proxy"] as const) {
    const events = stepsOf(mode, uefi({ archs: [11] }), uefi({ archs: [11] }));
    assert.equal(
      events.map(({ stage, level }) => [stage, level]),
      [["note", "warning"]],
      mode,
    );
    assert.match(
      events[0]!.message,
      /^firmware is arm64 UEFI; this appliance boots x86-64, and arm64 with UEFI: use an x86-64 machine/,
    );
    assert.is(events[0]!.claimed.architecture, "arm64");
  }
});

/** What is recorded of one client after these decisions. */
function told(decisions: object[], kind = "pxe", mode: "full" | "proxy" = "full") {
  const events: Happening[] = [];
  const tell = dhcpSteps({ timeline: { record: (event) => void events.push(event) }, mode });
  const client = { mac: MAC, kind, archs: [], platform: "uefi-x64" } as never;
  for (const decision of decisions) tell(client, { replies: [], reason: "why", ...decision } as never);
  return events.map(({ stage, level, message, detail }) => [stage, level, message, detail]);
}
const reply = (yiaddr: string, file: string) => ({ replies: [{ packet: { yiaddr, file } }] });

test("an offer is two steps, with what was offered", () => {
  for (const [kind, who] of [
    ["pxe", "firmware"],
    ["http", "UEFI HTTP firmware"],
    ["ipxe", "iPXE"],
  ] as const)
    assert.equal(told([{ step: "offer", ...reply("10.77.0.50", "boot/x") }], kind), [
      ["discover", undefined, `${who} looks for a boot server`, { kind }],
      ["offer", undefined, `${who} was offered what to boot`, { kind, address: "10.77.0.50", file: "boot/x" }],
    ]);
  assert.equal(told([{ step: "offer", ...reply("0.0.0.0", "") }])[1]![3], { kind: "pxe" });
  assert.equal(told([{ step: "offer" }])[1]![3], { kind: "pxe" });
});

test("a step of a machine is told once in a while, another machine's kind of client anew", () => {
  const events: Happening[] = [];
  const tell = dhcpSteps({ timeline: { record: (event) => void events.push(event) }, mode: "full" });
  for (const [mac, kind] of [
    [MAC, "pxe"],
    [MAC, "pxe"],
    [MAC, "ipxe"],
    ["52:54:00:00:00:99", "pxe"],
  ])
    tell({ mac, kind, archs: [] } as never, { step: "offer", replies: [], reason: "" } as never);
  assert.is(events.length, 6);
});

test("an operating system is no news; a boot file of port 4011, a refusal and a declined address are", () => {
  for (const step of ["offer", "nak", "decline"]) assert.equal(told([{ step }], "os"), []);
  assert.equal(told([{ step: "boot-file", ...reply("0.0.0.0", "x") }, { step: "boot-file" }]), [
    [
      "offer",
      undefined,
      "firmware asked port 4011 and was told what to boot",
      { kind: "pxe", file: "x", code: "boot-server-asked" },
    ],
  ]);
  assert.equal(told([{ step: "nak" }, { step: "decline" }]), [
    ["note", "warning", "firmware was refused the address it asked for: why", { code: "nak", why: "why" }],
    ["note", "warning", "firmware declined its address: why", { code: "declined", why: "why" }],
  ]);
  for (const step of ["ack", "release", "silence"]) assert.equal(told([{ step }]), []);
});

test("a client that asks port 4011 for the third time in a row gets no answer of ours, and is told of once", () => {
  const asks = Array.from({ length: 5 }, () => ({ step: "boot-file" }));
  assert.equal(
    told(asks).map(([, level, , detail]) => [level, (detail as { code: string }).code]),
    [
      [undefined, "boot-server-asked"],
      ["warning", "boot-server-again"],
    ],
  );
  assert.is(told(asks.slice(0, 2)).length, 1);
});

test("whose address firmware takes is a step, in both modes; why it got none is a warning with its code", () => {
  const taken = (mode: "full" | "proxy", decision: object) =>
    told([decision, decision], "pxe", mode).map(([stage, , message, detail]) => [stage, message, detail]);
  assert.equal(taken("full", { step: "ack", lease: { address: "10.77.0.50" } }), [
    ["offer", "firmware takes address 10.77.0.50", { kind: "pxe", code: "address-taken", address: "10.77.0.50" }],
  ]);
  assert.equal(taken("proxy", { step: "ignored", otherServer: "10.77.0.9" }), [
    [
      "offer",
      "firmware takes the address of DHCP server 10.77.0.9",
      { kind: "pxe", code: "address-taken", server: "10.77.0.9" },
    ],
  ]);
  assert.equal(told([{ step: "ignored", problem: "pool-empty", reason: "no free address in the range" }]), [
    ["note", "warning", "firmware got no answer: no free address in the range", { code: "pool-empty" }],
  ]);
  assert.equal(told([{ step: "nak", reason: "wrong network" }])[0]![3], {
    code: "wrong-network",
    why: "wrong network",
  });
});

test("the made-up card that looks for DHCP servers is no machine", () => {
  const events: Happening[] = [];
  const tell = dhcpSteps({ timeline: { record: (event) => void events.push(event) }, mode: "full" });
  tell({ mac: newProbeCard(), kind: "pxe", archs: [] } as never, { step: "offer", replies: [] } as never);
  assert.equal(events, []);
});

test("another DHCP server is told of once, where we give addresses ourselves, whoever it answered", () => {
  const other = { step: "silence", otherServer: "10.77.0.9" };
  const warning = "another DHCP server answers on this network: 10.77.0.9; use proxy mode, or switch it off";
  const said = [["note", "warning", warning, { code: "other-server", server: "10.77.0.9" }]];
  assert.equal([told([other, other]), told([other], "os"), told([other], "os", "proxy")], [said, said, []]);
  assert.is(told([other, { ...other, otherServer: "10.77.0.8" }]).length, 2);
});

test("how a transfer ended before its last block has a code of its own", () => {
  const ended = (event: object) =>
    fetched({ kind: "aborted", blksize: 512, windowsize: 1, detail: "why", ...event }).recorded.map(
      ({ detail }) => detail!["code"],
    );
  assert.equal(ended({ why: "timeout", bytes: 0 }), ["tftp-unanswered"]);
  assert.equal(ended({ why: "timeout", retransmits: 9 }), ["tftp-stalled"]);
  assert.equal(ended({ why: "timeout", retransmits: 13 }), ["tftp-loss"]);
  assert.equal(ended({ why: "timeout", retransmits: 13, windowsize: 4 }), ["tftp-stalled"]);
  assert.equal(ended({ why: "time-limit" }), ["tftp-loss"]);
  assert.equal(ended({ why: "client-error" }), ["tftp-broken-off"]);
  assert.equal(ended({ why: "superseded" }), []);
  const { detail } = fetched({ kind: "aborted", why: "timeout", detail: "why", blksize: 512, windowsize: 1 })
    .recorded[0]!;
  assert.equal([detail!["block"], detail!["blocks"]], [2, 5]);
});

test("a name that is not served is a step of no level, once", () => {
  const recorded: Happening[] = [];
  const tell = unknownFileSteps({
    timeline: { record: (event) => void recorded.push(event) },
    cardAt: (address) => (address === "10.77.0.50" ? MAC : undefined),
  });
  for (const address of ["10.77.0.50", "10.77.0.50", "10.77.0.66"]) tell("pxelinux.0", address);
  assert.equal(
    recorded.map(({ message, level, detail }) => [message, level, detail]),
    [["asked for pxelinux.0, which is not served", undefined, { code: "tftp-unknown-file", file: "pxelinux.0" }]],
  );
});

function fetched(...events: object[]) {
  const [recorded, progressed]: [Happening[], string[]] = [[], []];
  const tell = tftpSteps({
    timeline: { record: (event) => void recorded.push(event) },
    cardAt: (address) => (address === "10.77.0.50" ? MAC : undefined),
    ladder: { progressed: (mac) => progressed.push(mac), fetched: () => undefined },
  });
  const client = { address: "10.77.0.50", port: 1 };
  for (const event of events)
    tell({ client, name: "ipxe.efi", bytes: 1024, sizeBytes: 2048, ms: 1500, retransmits: 1, ...event } as never);
  return { recorded, progressed };
}

test("what UEFI HTTP firmware fetched is a step of the same kind, told once for one try", () => {
  const recorded: Happening[] = [];
  const progressed: string[] = [];
  const tell = httpFileSteps({
    timeline: { record: (event) => void recorded.push(event) },
    cardAt: (address) => (address === "10.77.0.50" ? MAC : undefined),
    ladder: { progressed: (mac) => progressed.push(mac), fetched: () => undefined },
  });
  const whole = { name: "ipxe.efi", sizeBytes: 1 << 20, complete: true, durationMs: 1_500 };
  for (const address of ["10.77.0.50", "10.77.0.50", "10.77.0.99"]) tell(whole, address);
  tell({ ...whole, complete: false }, "10.77.0.50");
  assert.equal(
    recorded.map(({ claimed, stage, level, message }) => [claimed?.mac, stage, level, message]),
    [
      [MAC, "tftp", "info", "fetched ipxe.efi over HTTP: 1 MiB in 1.5s"],
      [MAC, "tftp", "warning", "ipxe.efi over HTTP stopped after 1.5s: the machine went away"],
    ],
  );
  assert.is(progressed.length, 3);
});

test("a file that was fetched is a step with its size and time, seen of the card that the address has", () => {
  const { recorded, progressed } = fetched({ kind: "done" });
  assert.equal(recorded, [
    {
      claimed: { mac: MAC },
      observed: { card: MAC, address: "10.77.0.50" },
      stage: "tftp",
      message: "fetched ipxe.efi: 1 KiB in 1.5s",
      detail: { file: "ipxe.efi", bytes: 1024, retransmits: 1 },
    },
  ]);
  assert.equal(progressed, [MAC]);
});

test("one that broke off is a warning, once; a beginning, another end and a stranger's are no step", () => {
  const broken = { kind: "end", why: "timeout", detail: "no ACK after block 2 of 4" };
  const { recorded } = fetched(broken, broken, { ...broken, name: "other" });
  assert.equal(
    recorded.map(({ level, message }) => [level, message]),
    ["ipxe.efi", "other"].map((name) => ["warning", `${name} stopped at 1 KiB of 2 KiB: no ACK after block 2 of 4`]),
  );
  assert.equal(fetched({ ...broken, why: "declined" }), { recorded: [], progressed: [MAC] });
  assert.equal(fetched({ kind: "start" }), { recorded: [], progressed: [] });
  assert.equal(fetched({ kind: "done", client: { address: "10.77.0.66", port: 1 } }), { recorded: [], progressed: [] });
});

test("a part of a boot image that was sent whole is a step of that boot; one that stopped is a warning", () => {
  const boot = { mac: MAC, bootId: "boot-1" } as never;
  const observed = { card: MAC };
  const of = (sentBytes: number) =>
    transferStep(
      {
        artefact: { imageId: "img1", part: "kernel", name: "vmlinuz" },
        sentBytes,
        askedBytes: 2048,
        durationMs: 1499.6,
      } as never,
      boot,
      observed,
    );
  const step = { claimed: { mac: MAC }, observed, bootId: "boot-1", imageId: "img1", stage: "kernel" } as const;
  assert.equal(of(2048), {
    ...step,
    level: "info",
    message: "fetched vmlinuz: 2 KiB in 1.5s",
    detail: { bytes: 2048, ms: 1500 },
  });
  assert.equal(of(1024), {
    ...step,
    level: "warning",
    message: "vmlinuz: stopped at 1 KiB of 2 KiB in 1.5s",
    detail: { bytes: 1024, ms: 1500, code: "transfer-stopped", sizeBytes: 2048 },
  });
});

test("what is told is told again after its time, each thing for itself, and a flood forgets the oldest", () => {
  const never = onceIn(60_000);
  assert.equal([never("a"), never("a"), never("b")], [true, false, true]);
  const always = onceIn(0);
  assert.equal([always("a"), always("a")], [true, true]);
  for (let n = 0; n < 16_384; n++) never(`x${n}`);
  assert.equal([never("b"), never("x16383")], [true, false]);
});

test("what was told is told again when its time is over, counted from when it was told and not from when it was asked", () => {
  const clock = { ms: 1_000 };
  const isNews = onceIn(30_000, () => clock.ms);
  const at = (ms: number, what = "a") => {
    clock.ms = 1_000 + ms;
    return isNews(what);
  };
  assert.equal([at(0), at(10_000), at(29_999), at(30_000)], [true, false, false, true]);
  assert.equal([at(59_999), at(60_000), at(60_001, "b"), at(60_001)], [false, true, true, false]);
});

test("of more than 16,384 things the one that was asked of longest ago is forgotten, and no other", () => {
  const isNews = onceIn(30_000, () => 0);
  for (let n = 0; n < 16_384; n++) assert.ok(isNews(`x${n}`));
  assert.equal([isNews("x0"), isNews("x1")], [false, false], "all are remembered");
  assert.ok(isNews("new"));
  assert.equal([isNews("x0"), isNews("x1"), isNews("x3"), isNews("x2")], [false, false, false, true]);
});

test("firmware without a boot file is told of again after half a minute and not for each packet, machine by machine", () => {
  const none = { step: "ignored", noBootFile: true };
  assert.is(told([none, none, none]).length, 1);
  const events: Happening[] = [];
  const tell = dhcpSteps({ timeline: { record: (event) => void events.push(event) }, mode: "full" });
  for (const mac of [MAC, MAC, "52:54:00:00:00:99"])
    tell({ mac, kind: "pxe", archs: [] } as never, { replies: [], reason: "why", ...none } as never);
  assert.equal(
    events.map(({ claimed }) => claimed.mac),
    [MAC, "52:54:00:00:00:99"],
  );
});

test.run();
