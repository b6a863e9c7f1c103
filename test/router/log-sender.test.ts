import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { logSender } from "../../router/log-sender.ts";

interface Body {
  session: string;
  seq: number;
  lines: { app: string; line: string }[];
  dropped: Record<string, number>;
}

const at = "2026-01-01T00:00:00.000000Z";
/** A control that takes batches, or is away. */
function fakeControl() {
  const it = { bodies: [] as Body[], away: false, tries: 0 };
  const call = async (_: unknown, { body }: { body: Body }) => {
    it.tries++;
    if (it.away) throw new Fault("unavailable", "control is away");
    it.bodies.push(structuredClone(body));
    return {};
  };
  return Object.assign(it, { client: { call } as unknown as Pick<Client, "call"> });
}
const soon = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 10_000, everyMs: 5 });

test("lines reach control in order, in numbered batches of bounded size", async () => {
  const control = fakeControl();
  const sender = logSender({ log: silentLog(), everyMs: 5 });
  const stop = new AbortController();
  for (let n = 0; n < 2_500; n++) sender.push({ at, app: "hello", line: String(n) });
  const running = sender.run(control.client, "r1", stop.signal);
  await soon("all lines", () => sender.waiting === 0 && control.bodies.length >= 3);
  stop.abort();
  await running;
  const lines = control.bodies.flatMap((body) => body.lines.map(({ line }) => Number(line)));
  assert.equal(
    lines,
    Array.from({ length: 2_500 }, (_, n) => n),
  );
  assert.ok(control.bodies.every((body) => body.lines.length <= 1_000));
  assert.equal(
    control.bodies.map(({ seq }) => seq),
    control.bodies.map((_, n) => n + 1),
  );
});

test("while control is away a flood gives up its own oldest lines, counted; another app's are all kept", async () => {
  const control = fakeControl();
  control.away = true;
  const sender = logSender({ log: silentLog(), linesMost: 1_000, everyMs: 5 });
  const stop = new AbortController();
  for (let n = 0; n < 50; n++) sender.push({ at, app: "quiet", line: String(n) });
  for (let n = 0; n < 20_000; n++) sender.push({ at, app: "loud", line: String(n) });
  assert.ok(sender.waiting <= 1_000);
  const running = sender.run(control.client, "r1", stop.signal);
  await soon("a try", () => control.tries > 0);
  control.away = false;
  await soon("all lines", () => sender.waiting === 0 && control.bodies.length > 0);
  stop.abort();
  await running;
  const of = (app: string) => control.bodies.flatMap((body) => body.lines.filter((line) => line.app === app));
  const dropped = control.bodies.reduce((sum, body) => sum + (body.dropped["loud"] ?? 0), 0);
  assert.is(of("quiet").length, 50);
  assert.is(of("loud").length + dropped, 20_000);
  assert.is(of("loud").at(-1)?.line, "19999");
});

test("what waits when the router ends gets one try", async () => {
  const control = fakeControl();
  const sender = logSender({ log: silentLog(), everyMs: 60_000 });
  const stop = new AbortController();
  const running = sender.run(control.client, "r1", stop.signal);
  sender.push({ at, app: "hello", line: "last" });
  stop.abort();
  await running;
  assert.is(control.bodies[0]?.lines[0]?.line, "last");
});

test.run();
