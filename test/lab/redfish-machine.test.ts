// time limit: 400 s
// A machine with a Redfish BMC: sushy-tools' emulator (redfish-machine.txt, a virtual environment of its own) is the BMC, and what it is
// told is done to an emulated machine. Orders go from the API through control and the boot server's hands to it, and the machine boots.
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { connect, createServer as createNetServer } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { getMachine } from "#api/machines.ts";
import { lookAtMachineBmc, orderPower, putMachineBmc } from "#api/power.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { MAC, QUICK, type World, world } from "../bootstrap/bmc/world.ts";
import { bootMachine } from "../bootstrap/image-fixture.ts";
import { type MediaPlane, mediaPlane } from "../bootstrap/media/plane.ts";
import { makeCertificate } from "../control/routing/certificates.ts";
import { freePort } from "../lib/free-port.ts";
import { openLan } from "./network.ts";
import { start } from "./process.ts";
import { addMachine, type Machine } from "./qemu.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  machine: Machine;
  emulator: string;
  told: {
    power_state: string;
    boot_device?: string;
    boot_mode?: string;
    /** Path, write-protected, inserted. */
    boot_image?: { Cd?: [string | null, boolean, boolean] };
  }[];
  plane: MediaPlane;
  closing: (() => Promise<void>)[];
  notified: Server;
  it: World;
}

const PACKAGES = fileURLToPath(new URL("./redfish-machine.txt", import.meta.url));
const SYSTEM = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
const lab = suite<Context>("redfish-machine");
const PLANE_PORT = 7781;
const params = { id: "metal" };

lab.before(async (context) => {
  const scope = await openScope();
  context.scope = scope;
  const lan = await openLan(scope, { ip: "10.79.0.1" });
  /** What its BMC has in its drive, when it told it to boot from there. */
  const cdrom = () => {
    const last = context.told.at(-1);
    return last?.boot_device === "Cd" ? (last.boot_image?.Cd?.[0] ?? undefined) : undefined;
  };
  const machine = await addMachine(scope, lan, { name: "metal", mac: MAC, memoryMiB: 512, diskGiB: 0, cdrom });
  context.machine = machine;
  const www = join(scope.folder, "www");
  await mkdir(www);
  await writeFile(join(www, "boot.ipxe"), "#!ipxe\necho booted by its BMC\nsleep 1000\n");
  await lan.spawn(["busybox", "httpd", "-f", "-p", "10.79.0.1:7780", "-h", www]);
  const dhcp = join(scope.folder, "udhcpd.conf");
  await writeFile(
    dhcp,
    `start 10.79.0.50\nend 10.79.0.60\ninterface br0\nlease_file ${scope.folder}/leases\npidfile ${scope.folder}/udhcpd.pid\noption subnet 255.255.255.0\nboot_file http://10.79.0.1:7780/boot.ipxe\n`,
  );
  await writeFile(join(scope.folder, "leases"), "");
  await lan.spawn(["busybox", "udhcpd", "-f", "-S", dhcp]);

  // The boot plane is not on the machine's network: a wire to it, and one from the BMC, which both are routers as far as they know.
  context.closing = [];
  context.plane = await mediaPlane({
    machines: [bootMachine(MAC, { target: "wait" })],
    base: `http://10.79.0.1:${PLANE_PORT}`,
  });
  const { port: planePort } = context.plane;
  const wire = join(scope.folder, "plane.sock");
  const bridge = createNetServer((socket) => {
    const on = connect(planePort, "127.0.0.1");
    for (const [a, b] of [
      [socket, on],
      [on, socket],
    ] as const) {
      a.pipe(b);
      a.on("error", () => b.destroy());
      a.on("close", () => b.destroy());
    }
  });
  await new Promise<void>((resolve) => bridge.listen(wire, resolve));
  context.closing.push(async () => void bridge.close());
  await lan.spawn(["socat", `TCP-LISTEN:${PLANE_PORT},bind=10.79.0.1,fork,reuseaddr`, `UNIX-CONNECT:${wire}`]);
  const router = createServer((request, reply) => {
    const url = new URL(request.url ?? "");
    const { method, headers } = request;
    const on = httpRequest({ host: "127.0.0.1", port: planePort, path: url.pathname + url.search, method, headers });
    on.on("response", (answer) => {
      reply.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(reply);
    });
    on.on("error", () => reply.destroy());
    request.pipe(on);
  });
  await new Promise<void>((resolve) => router.listen(0, "127.0.0.1", resolve));
  context.closing.push(async () => void router.close());
  const { port: routerPort } = router.address() as AddressInfo;

  // The emulator says what it was told to do, and the machine does it.
  context.told = [];
  context.notified = createServer((request, reply) => {
    json(request)
      .then(async (told) => {
        const system = told as Context["told"][number];
        context.told.push(system);
        if (system.power_state === "On" && !machine.isOn()) await machine.powerOn();
        if (system.power_state === "Off" && machine.isOn()) await machine.kill();
        reply.end("{}");
      })
      .catch(() => reply.destroy());
  });
  await new Promise<void>((resolve) => context.notified.listen(0, "127.0.0.1", resolve));
  const { port: notifyPort } = context.notified.address() as AddressInfo;

  const bin = join(scope.folder, "python", "bin");
  await exec(["python3", "-m", "venv", join(scope.folder, "python")], { timeoutMs: 120_000 });
  await exec([join(bin, "pip"), "install", "--quiet", "--no-deps", "-r", PACKAGES], { timeoutMs: 200_000 });
  const { certificate, key } = await makeCertificate({ names: ["bmc.test"], days: 30 });
  const at = (name: string) => join(scope.folder, name);
  await writeFile(at("bmc.pem"), certificate);
  await writeFile(at("bmc.key"), key);
  const hash = "import bcrypt; print('flynn:' + bcrypt.hashpw(b'geheim12', bcrypt.gensalt(4, b'2b')).decode())";
  await writeFile(at("bmc.users"), (await exec([join(bin, "python"), "-c", hash])).stdout);
  const system = {
    uuid: SYSTEM,
    name: "metal",
    power_state: "Off",
    external_notifier: true,
    nics: [{ mac: machine.mac, ip: "10.79.0.50" }],
  };
  const python = (value: unknown) => JSON.stringify(value).replaceAll("true", "True");
  await writeFile(
    at("bmc.conf"),
    [
      `SUSHY_EMULATOR_FAKE_SYSTEMS = [${python(system)}]`,
      `EXTERNAL_NOTIFICATION_URL = ${JSON.stringify(`http://127.0.0.1:${notifyPort}`)}`,
      `SUSHY_EMULATOR_STATE_DIR = ${JSON.stringify(scope.folder)}`,
      `SUSHY_EMULATOR_AUTH_FILE = ${JSON.stringify(at("bmc.users"))}`,
      "",
    ].join("\n"),
  );
  const port = await freePort();
  const tls = ["--ssl-certificate", at("bmc.pem"), "--ssl-key", at("bmc.key")];
  const argv = [
    join(bin, "sushy-emulator"),
    "--fake",
    "--config",
    at("bmc.conf"),
    "-i",
    "127.0.0.1",
    "-p",
    `${port}`,
    ...tls,
  ];
  const env = { ...process.env, http_proxy: `http://127.0.0.1:${routerPort}`, no_proxy: "127.0.0.1" };
  const running = await start(scope, argv, { name: "bmc", cwd: scope.folder, env });
  await running.waitFor(/Running on/, 30_000);
  context.emulator = `127.0.0.1:${port}`;
  context.it = await world({
    waits: { ...QUICK, pollMs: 1_000, hardMs: 60_000, onMs: 60_000, mediaMs: 120_000 },
    media: { begin: (order, macs) => context.plane.room.begin(order, macs) },
  });
  await context.it.startBoot();
});

lab.after(async ({ it, notified, scope, plane, closing }) => {
  await it?.[Symbol.asyncDispose]();
  notified?.closeAllConnections();
  notified?.close();
  for (const close of closing ?? []) await close();
  await plane?.[Symbol.asyncDispose]();
  await scope.close();
});

lab("its certificate is shown before anything is said, and accepted it answers", async ({ it, emulator }) => {
  const bmc = { kind: "redfish" as const, address: emulator, user: "flynn", systemId: SYSTEM };
  await it.admin.call(putMachineBmc, { params, body: { ...bmc, password: "geheim12" } });
  const { pinSha256 } = await it.admin.call(lookAtMachineBmc, { params, body: {}, timeoutMs: 90_000 });
  assert.match(pinSha256 ?? "", /^[0-9a-f]{64}$/);
  await it.admin.call(putMachineBmc, { params, body: { ...bmc, pinSha256: pinSha256! } });
  const look = await it.admin.call(lookAtMachineBmc, { params, body: {}, timeoutMs: 90_000 });
  assert.equal([look.ok, look.power], [true, "off"], look.message);
});

lab(
  "ordered on with a network boot it boots from the network, and the order is done when its BMC says so",
  async (context) => {
    const { it, machine, told } = context;
    const order = await it.ended(
      await it.admin.call(orderPower, { params, body: { action: "on", boot: "pxe", mode: "legacy" } }),
    );
    assert.is(order.state, "done", order.reason);
    assert.is(told.find(({ power_state }) => power_state === "On")?.boot_device, "Pxe");
    await machine.waitForConsole(/booted by its BMC/, 60_000);
  },
);

lab("cycled it goes off, is seen to be, and boots anew", async ({ it, machine, told }) => {
  const before = told.length;
  const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "cycle" } }));
  assert.is(order.state, "done", order.reason);
  const states = told.slice(before).map(({ power_state }) => power_state);
  assert.equal([...new Set(states)].sort(), ["Off", "On"].sort());
  await machine.waitForConsole(/(booted by its BMC[\s\S]*){2}/, 60_000);
});

lab("ordered off it is off, and its state says that it was ordered", async ({ it, machine }) => {
  const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "off" } }));
  assert.is(order.state, "done", order.reason);
  await until(() => !machine.isOn(), { what: "the machine off", timeoutMs: 10_000 });
  assert.is((await it.admin.call(getMachine, { params })).state, "off");
});

lab(
  "ordered on from an ISO of its own it boots from that, asks as itself, and the ISO is taken out again",
  async (context) => {
    const { it, machine, told, plane } = context;
    const before = told.length;
    const order = await it.ended(
      await it.admin.call(orderPower, { params, body: { action: "on", boot: "media", mode: "legacy" } }),
      200_000,
    );
    assert.is(order.state, "done", order.reason);
    assert.match(order.reason, `it booted from its ISO: card ${MAC}`);
    await machine.waitForConsole(/waits for approval/, 30_000);
    assert.ok(told.slice(before).some(({ boot_device, boot_image }) => boot_device === "Cd" && boot_image?.Cd?.[2]));
    assert.is(told.at(-1)?.boot_image?.Cd?.[2], false, "it was taken out");
    assert.ok(plane.events.some(({ claimed }) => claimed.mac === MAC));
    const off = await it.ended(await it.admin.call(orderPower, { params, body: { action: "off" } }));
    assert.is(off.state, "done", off.reason);
  },
);

lab("a wrong password is found out at once", async ({ it, emulator }) => {
  const { pinSha256 } = (await it.admin.call(lookAtMachineBmc, { params, body: {}, timeoutMs: 90_000 })) ?? {};
  assert.is(pinSha256, undefined);
  const bmc = { kind: "redfish" as const, address: emulator, user: "flynn", systemId: SYSTEM, password: "wrong" };
  await it.admin.call(putMachineBmc, { params, body: bmc });
  const { pinSha256: shown } = await it.admin.call(lookAtMachineBmc, { params, body: {}, timeoutMs: 90_000 });
  await it.admin.call(putMachineBmc, { params, body: { ...bmc, pinSha256: shown! } });
  const look = await it.admin.call(lookAtMachineBmc, { params, body: {}, timeoutMs: 90_000 });
  assert.equal([look.ok, look.code], [false, "bmc-password"], look.message);
});

lab.run();
