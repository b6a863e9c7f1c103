// The agent's loop alone, on the fake engine, when what it works with does not answer.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keepAddresses } from "../../hostd/addresses.ts";
import { type Agent, createAgent } from "../../hostd/agent.ts";
import { createApply } from "../../hostd/apply.ts";
import type { Engine } from "../../hostd/engine/engine.ts";
import { type FakeEngine, type FakeOptions, fakeEngine } from "../../hostd/engine/fake.ts";
import { logStore } from "../../hostd/logs/store.ts";
import { unkeptReach } from "../../hostd/reach/reach.ts";
import { job, target } from "./jobs.ts";

interface Rig {
  agent: Agent;
  engine: FakeEngine;
  stateOf(id: string): string | undefined;
}

async function withAgent(
  {
    save = async () => undefined,
    list,
    ...docker
  }: { save?: () => Promise<void>; list?: (fake: FakeEngine) => Engine["list"] } & FakeOptions,
  body: (rig: Rig) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-agent-"));
  const stop = new AbortController();
  const fake = fakeEngine(docker);
  const engine = { ...fake, ...(list ? { list: list(fake) } : {}) };
  const logs = logStore({ directory, onError: (error) => assert.unreachable(String(error)) });
  const addresses = keepAddresses();
  const agent = createAgent({
    engine,
    monitor: { healthy: () => true },
    apply: createApply({ engine, dns: () => [], addresses, reach: unkeptReach }),
    addresses,
    reach: unkeptReach,
    logs,
    target: target([job({ id: "a" }), job({ id: "b" })]),
    records: new Map(),
    onChange: () => undefined,
    save,
    log: silentLog(),
    signal: stop.signal,
    tickMs: 10,
  });
  const running = agent.run();
  try {
    await body({ agent, engine: fake, stateOf: (id) => agent.jobs().find((one) => one.id === id)?.state });
  } finally {
    stop.abort();
    await running;
    await logs.close();
    await rm(directory, { recursive: true, force: true });
  }
}
const happens = <T>(what: string, probe: () => T) => until(probe, { what, timeoutMs: 10_000, everyMs: 2 });

test("a disk that never answers keeps no job waiting", async () => {
  const disk = Promise.withResolvers<void>();
  await withAgent({ save: () => disk.promise }, async ({ agent, engine, stateOf }) => {
    await happens("both up", () => stateOf("a") === "up" && stateOf("b") === "up");
    engine.exit("flynn-a", 1);
    await happens("a crash", () => stateOf("a") === "crashed");
    agent.setTarget(target([]));
    await happens("b's end", () => !engine.containers.has("flynn-b"));
    disk.resolve();
  });
});

test("with another subnet jobs wait for the last one in the subnet before, as waiting and not as crashed, and say so", async () => {
  await withAgent({ onTerm: () => undefined, killable: () => false }, async ({ agent, engine, stateOf }) => {
    await happens("both up", () => stateOf("a") === "up" && stateOf("b") === "up");
    engine.exit("flynn-b", 0);
    const leaving = job({ id: "a", desired: "stop" });
    agent.setTarget(target([leaving, job({ id: "c" })], { seq: 2, subnet: "100.64.8.0/22" }));
    const c = () => agent.jobs().find(({ id }) => id === "c");
    const waits = () =>
      c()?.reason === "network flynn has 100.64.7.0/24 until flynn-a has ended; then it gets 100.64.8.0/22";
    await happens("its reason", waits);
    assert.equal([c()?.state, c()?.restarts], ["starting", 0]);
    engine.exit("flynn-a", 137);
    await happens("its start", () => stateOf("c") === "up");
    assert.is(engine.network?.subnet, "100.64.8.0/22");
    assert.is(engine.containers.get("flynn-c")?.spec.address, "100.64.8.2");
  });
});

test("of a container that the engine does not answer for nothing is said or done before it does, and others go on", async () => {
  let silent = true;
  const list = (fake: FakeEngine) => async () =>
    (await fake.list()).map(({ exitCode, ...one }) =>
      one.name === "flynn-a" && one.status === "exited" && silent
        ? { ...one, unanswered: "asked" as const }
        : { ...one, ...(exitCode === undefined ? {} : { exitCode }) },
    );
  await withAgent({ list }, async ({ agent, engine, stateOf }) => {
    await happens("both up", () => stateOf("a") === "up" && stateOf("b") === "up");
    engine.exit("flynn-a", 3);
    engine.exit("flynn-b", 4);
    await happens("b started again", () => engine.calls.filter((call) => call === "start flynn-b").length === 2);
    assert.is(stateOf("a"), "up");
    assert.ok(engine.containers.has("flynn-a"));
    silent = false;
    await happens("a's end", () => agent.find("a").record?.exitCode === 3);
  });
});

test.run();
