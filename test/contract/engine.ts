// The contract of the engine port: the same claims hold for Docker and for the fake that the fast tests run on.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import type { Container, ContainerSpec, Engine, EngineLogLine } from "../../hostd/engine/engine.ts";
import { isAddressTaken, isNetworkInUse, LABELS } from "../../hostd/engine/engine.ts";

export interface EngineUnderTest {
  engine: Engine;
  /** An image whose shell can run `command`; the fake's process does what `script` says. */
  image: string;
  /** Makes the started container print these lines and end, or go on when `exitCode` is undefined. */
  script(spec: ContainerSpec, act: { lines?: string[]; exitCode?: number; ignoreTerm?: boolean }): ContainerSpec;
  /** Called after start: the fake acts its script out. */
  act(name: string): void;
}

export function engineContract(name: string, make: () => Promise<EngineUnderTest>): void {
  const network = { name: "flynn", bridge: "flynn0", subnet: "100.64.7.0/24", gateway: "100.64.7.1" };
  const claim = (title: string, body: (under: EngineUnderTest, id: string) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const under = await make();
      const id = `t${Math.random().toString(36).slice(2, 10)}`;
      await under.engine.ensureNetwork(network);
      try {
        await body(under, id);
      } finally {
        await under.engine.remove(`flynn-${id}`);
      }
    });
  const spec = (under: EngineUnderTest, id: string): ContainerSpec => ({
    name: `flynn-${id}`,
    image: under.image,
    labels: { [LABELS.job]: id, [LABELS.app]: "contract", [LABELS.process]: "web" },
    env: { GREETING: "hi" },
    hostname: id,
    network: network.name,
    dns: [network.gateway],
    memoryBytes: 64 << 20,
    cpuMillis: 100,
    pids: 32,
  });
  const find = async (under: EngineUnderTest, id: string): Promise<Container | undefined> =>
    (await under.engine.list()).find(({ labels }) => labels[LABELS.job] === id);
  const ended = (under: EngineUnderTest, id: string) =>
    until(async () => ((await find(under, id))?.status === "exited" ? find(under, id) : undefined), {
      what: "container's end",
      timeoutMs: 20_000,
    });
  const begin = async (under: EngineUnderTest, wanted: ContainerSpec) => {
    await under.engine.pull(under.image, AbortSignal.timeout(20_000));
    await under.engine.create(wanted);
    await under.engine.start(wanted.name);
    under.act(wanted.name);
  };

  claim(
    "a network in use is left as it is, and is made anew with another subnet once nothing is on it",
    async (under, id) => {
      const { engine } = under;
      const other = { ...network, subnet: "100.64.8.0/22", gateway: "100.64.8.1" };
      await begin(under, under.script(spec(under, id), {}));
      const refused = await engine.ensureNetwork(other).then(
        () => undefined,
        (error: unknown) => error,
      );
      assert.ok(isNetworkInUse(refused), String(refused));
      assert.match(refused.message, new RegExp(`^network flynn has 100.64.7.0/24 until flynn-${id} has ended`));
      assert.is(await engine.networkSubnet(network.name), network.subnet);
      await engine.remove(`flynn-${id}`);
      await engine.ensureNetwork(other);
      assert.is(await engine.networkSubnet(network.name), other.subnet);
      await begin(under, { ...under.script(spec(under, id), {}), address: "100.64.11.254" });
      assert.is((await find(under, id))?.address, "100.64.11.254", "the last of the larger subnet");
      assert.is(await engine.networkSubnet("nobody"), undefined);
    },
  );

  claim("a live engine tells its version and architecture", async ({ engine }) => {
    const { version, architecture } = await engine.probe();
    assert.ok(version.length > 0);
    assert.match(architecture, /^(amd64|arm64)$/);
  });

  claim("a created container is listed as created, with its labels", async (under, id) => {
    await under.engine.pull(under.image, AbortSignal.timeout(20_000));
    await under.engine.create(under.script(spec(under, id), {}));
    const found = await find(under, id);
    assert.is(found?.status, "created");
    assert.is(found?.labels[LABELS.app], "contract");
    assert.is(found?.name, `flynn-${id}`);
  });

  claim("a container that only claims by its labels to be a job's is none", async (under, id) => {
    await begin(under, under.script(spec(under, id), {}));
    const name = `somebody-${id}`;
    await under.engine.create({ ...under.script(spec(under, id), {}), name });
    try {
      const listed = (await under.engine.list()).filter(({ labels }) => labels[LABELS.job] === id);
      assert.equal(
        listed.map((each) => each.name),
        [`flynn-${id}`],
      );
    } finally {
      await under.engine.remove(name);
    }
  });

  claim("creating a job's container twice is one container", async (under, id) => {
    await under.engine.pull(under.image, AbortSignal.timeout(20_000));
    const wanted = under.script(spec(under, id), {});
    await under.engine.create(wanted);
    const first = await find(under, id);
    await under.engine.create(wanted);
    const all = (await under.engine.list()).filter(({ labels }) => labels[LABELS.job] === id);
    assert.is(all.length, 1);
    assert.is(all[0]?.id, first?.id);
  });

  claim("a name that another job holds is refused", async (under, id) => {
    await under.engine.pull(under.image, AbortSignal.timeout(20_000));
    await under.engine.create(under.script(spec(under, id), {}));
    const other = { ...spec(under, id), labels: { [LABELS.job]: "somebody-else" } };
    const error = await under.engine.create(under.script(other, {})).then(
      () => undefined,
      (caught: unknown) => caught as { code: string },
    );
    assert.is(error?.code, "conflict");
  });

  claim("a started container runs and has an address of the network", async (under, id) => {
    await begin(under, under.script(spec(under, id), {}));
    const found = await find(under, id);
    assert.is(found?.status, "running");
    assert.match(found?.address ?? "", /^100\.64\.7\.\d+$/);
    assert.match(found?.startedAt ?? "", /^\d{4}-/);
    await under.engine.start(`flynn-${id}`);
    assert.is((await find(under, id))?.id, found?.id, "starting again changes nothing");
  });

  claim(
    "a container starts at the address asked for, and a second one at the same is refused as that",
    async (under, id) => {
      const address = "100.64.7.77";
      const first = { ...under.script(spec(under, id), {}), address };
      await begin(under, first);
      assert.is((await find(under, id))?.address, address);
      const other = `flynn-${id}-2`;
      await under.engine.create({ ...first, name: other, labels: { ...first.labels, [LABELS.job]: `${id}-2` } });
      try {
        const error = await under.engine.start(other).then(
          () => undefined,
          (caught: unknown) => caught,
        );
        assert.ok(isAddressTaken(error), String(error));
        await under.engine.remove(`flynn-${id}`);
        await under.engine.start(other);
        const [found] = (await under.engine.list()).filter(({ name }) => name === other);
        assert.is(found?.address, address, "free again once its container is gone");
      } finally {
        await under.engine.remove(other);
      }
    },
  );

  claim("a process that ends is listed as exited with its code", async (under, id) => {
    await begin(under, under.script(spec(under, id), { exitCode: 3 }));
    const found = await ended(under, id);
    assert.is(found.exitCode, 3);
    assert.is(found.oomKilled, false);
  });

  claim("SIGTERM ends a process that heeds it, and a signal to an ended one is no error", async (under, id) => {
    await begin(under, under.script(spec(under, id), { lines: ["begun"] }));
    // Its trap is set once it has printed.
    await firstLine(under, id);
    await under.engine.signal(`flynn-${id}`, "SIGTERM");
    assert.is((await ended(under, id)).exitCode, 143);
    await under.engine.signal(`flynn-${id}`, "SIGKILL");
    await under.engine.signal("flynn-never-was", "SIGKILL");
  });

  claim("SIGKILL ends a process that ignores SIGTERM", async (under, id) => {
    await begin(under, under.script(spec(under, id), { ignoreTerm: true, lines: ["begun"] }));
    await firstLine(under, id);
    await under.engine.signal(`flynn-${id}`, "SIGTERM");
    assert.is((await find(under, id))?.status, "running");
    await under.engine.signal(`flynn-${id}`, "SIGKILL");
    assert.is((await ended(under, id)).exitCode, 137);
  });

  claim("removing a running container removes it; one that is gone is no error", async (under, id) => {
    await begin(under, under.script(spec(under, id), {}));
    await under.engine.remove(`flynn-${id}`);
    assert.is(await find(under, id), undefined);
    await under.engine.remove(`flynn-${id}`);
  });

  claim("a log holds every line in order with rising times, outlives the process, and ends", async (under, id) => {
    const lines = Array.from({ length: 50 }, (_, n) => `line ${n} ä`);
    await begin(under, under.script(spec(under, id), { lines, exitCode: 0 }));
    await ended(under, id);
    const read = await readLog(under, id);
    assert.equal(
      read.map(({ line }) => line),
      lines,
    );
    assert.ok(read.every(({ at }) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(at)));
    assert.equal(
      read.map(({ at }) => at),
      read.map(({ at }) => at).sort(),
    );
  });

  claim("a log read since a line's time begins no later than that line", async (under, id) => {
    await begin(under, under.script(spec(under, id), { lines: ["one", "two", "three"], exitCode: 0 }));
    await ended(under, id);
    const all = await readLog(under, id);
    const since = await readLog(under, id, all[1]?.at);
    assert.ok(since.length >= 2 && since.length <= 3);
    assert.is(since.at(-2)?.line, "two");
    assert.is(since.at(-1)?.line, "three");
  });

  claim("reading a log ends when its signal aborts though the process goes on", async (under, id) => {
    await begin(under, under.script(spec(under, id), { lines: ["begun"] }));
    const stop = new AbortController();
    const read: string[] = [];
    for await (const { line } of under.engine.log(`flynn-${id}`, { signal: stop.signal })) {
      read.push(line);
      stop.abort();
    }
    assert.equal(read, ["begun"]);
  });

  claim("a change of a container is announced", async (under, id) => {
    const stop = AbortSignal.timeout(20_000);
    const changes = under.engine.changes(stop)[Symbol.asyncIterator]();
    const next = changes.next();
    await begin(under, under.script(spec(under, id), { exitCode: 0 }));
    assert.is((await next).done, false);
    await changes.return?.();
  });

  claim("an end that was announced is in the next list, also of a container seen to run before", async (under, id) => {
    const changes = under.engine.changes(AbortSignal.timeout(20_000))[Symbol.asyncIterator]();
    const first = changes.next();
    await begin(under, under.script(spec(under, id), { lines: ["begun"] }));
    await first;
    await firstLine(under, id);
    assert.is((await find(under, id))?.status, "running");
    await under.engine.signal(`flynn-${id}`, "SIGTERM");
    for (let seen: string | undefined; seen !== "exited"; seen = (await find(under, id))?.status)
      assert.is((await changes.next()).done, false, "all was announced, and no list shows its end");
    await changes.return?.();
  });

  async function readLog(under: EngineUnderTest, id: string, since?: string): Promise<EngineLogLine[]> {
    const lines: EngineLogLine[] = [];
    const signal = AbortSignal.timeout(20_000);
    for await (const line of under.engine.log(`flynn-${id}`, { since, signal })) lines.push(line);
    return lines;
  }
  async function firstLine(under: EngineUnderTest, id: string): Promise<void> {
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]);
    for await (const _ of under.engine.log(`flynn-${id}`, { signal })) stop.abort();
    assert.ok(stop.signal.aborted, "it printed");
  }
}
