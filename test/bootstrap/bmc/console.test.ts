// A serial console from the CLI's end to a real BMC's serial over LAN (ipmi_sim) and back: what is typed arrives, what is printed is seen,
// the next to look is shown what was kept, and it can be read without opening it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Fault } from "#api/fault.ts";
import { type FrameSocket, frameSocket } from "#api/frame-socket.ts";
import { attachConsole, createConsoleSession, machineConsole, putMachineBmc } from "#api/power.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { ipmiSim } from "./ipmi-sim.ts";
import { type World, world } from "./world.ts";

async function open(it: World): Promise<{ socket: FrameSocket; text: () => string; exit: () => string | undefined }> {
  const params = { id: it.machineId };
  const { ticket } = await it.admin.call(createConsoleSession, { params, body: {} });
  const socket = frameSocket(await it.admin.connect(attachConsole, { params, ticket }));
  let text = "";
  let exit: string | undefined;
  socket.receive((frame) => {
    if (frame.type === "stdout") text += frame.data.toString("utf8");
    if (frame.type === "exit") exit = frame.exit.reason ?? "";
  });
  return { socket, text: () => text, exit: () => exit };
}

test("what is typed reaches the machine, what it prints is seen, kept, and shown to the next", async () => {
  await using sim = await ipmiSim();
  await using it = await world();
  await it.startBoot();
  const params = { id: it.machineId };
  const { macs: _, ...bmc } = sim.bmc;
  await it.admin.call(putMachineBmc, { params, body: bmc });

  const first = await open(it);
  await until(
    () => {
      sim.print("login: ");
      return first.text().includes("login: ");
    },
    { what: "what the machine prints", timeoutMs: 20_000, everyMs: 200 },
  );
  await first.socket.sendData("stdin", Buffer.from("root~.\r"));
  await until(() => sim.typed().includes("root~.\r"), { what: "what was typed", timeoutMs: 10_000 });
  await first.socket.close();

  const second = await open(it);
  await until(() => second.text().includes("login: "), { what: "what was kept", timeoutMs: 20_000 });
  const kept = await it.admin.call(machineConsole, { params });
  assert.match(kept.text, "login: ");
  assert.type(kept.since, "string");
  await second.socket.close();
  const { items } = await it.admin.call(listEvents, {});
  assert.ok(items.some(({ type, message }) => type === "machine.console" && message.includes("was opened")));
});

test("a console whose BMC takes no password ends with words, and one without a BMC is refused", async () => {
  await using sim = await ipmiSim();
  await using it = await world();
  await it.startBoot();
  const params = { id: it.machineId };
  const refused = await it.admin
    .call(createConsoleSession, { params, body: {} })
    .catch((error: unknown) => error as Fault);
  assert.is((refused as Fault).code, "conflict");
  const { macs: _, ...bmc } = sim.bmc;
  await it.admin.call(putMachineBmc, { params, body: { ...bmc, password: "wrong" } });
  const { exit, socket } = await open(it);
  await until(() => exit() !== undefined, { what: "the end of the console", timeoutMs: 60_000 });
  assert.match(exit()!, /the BMC ended it/);
  await socket.close();
});

test.run();
