// An engine in memory with Docker's manners (names are unique, a signal to an ended container is no error, logs outlive the
// process until removal), and hands to make it misbehave. For tests and for simulated hosts.
import { EventEmitter, on } from "node:events";
import { Fault } from "#api/fault.ts";
import { isJobContainer } from "../job-container.ts";
import {
  addressTaken,
  type BridgeNetwork,
  type Container,
  type ContainerSpec,
  type Engine,
  type EngineLogLine,
  LABELS,
  networkInUse,
} from "./engine.ts";

export interface FakeEngine extends Engine {
  /** Every call made so far, as `create flynn-j1`. */
  calls: string[];
  containers: Map<string, FakeContainer>;
  network: BridgeNetwork | undefined;
  present: Set<string>;
  /** Fails the named calls from now on, until given undefined. */
  fail(call: string, error: Error | undefined): void;
  /** Calls get no answer from now on, until released. */
  hang(): { release: () => void };
  /** The process prints a line. */
  print(name: string, line: string, stream?: EngineLogLine["stream"]): void;
  /** The process ends by itself. */
  exit(name: string, exitCode: number, options?: { oomKilled?: boolean }): void;
  /** A container as another hostd, or a person, would have left it. */
  add(spec: ContainerSpec, status: Container["status"]): void;
}

interface FakeContainer extends Container {
  spec: ContainerSpec;
  log: EngineLogLine[];
}

export interface FakeOptions {
  /** What a process does with SIGTERM: ends with this code, or ignores it when undefined. */
  onTerm?: (name: string) => number | undefined;
  /** False: not even SIGKILL ends it, as in uninterruptible sleep. */
  killable?: (name: string) => boolean;
  now?: () => Date;
}

export function fakeEngine(options: FakeOptions = {}): FakeEngine {
  const { onTerm = () => 143, killable = () => true, now = () => new Date() } = options;
  const bus = new EventEmitter().setMaxListeners(0);
  const containers = new Map<string, FakeContainer>();
  const failures = new Map<string, Error>();
  const calls: string[] = [];
  let gate: Promise<void> = Promise.resolve();
  let made = 0;

  const enter = async (call: string, subject = ""): Promise<void> => {
    calls.push(subject ? `${call} ${subject}` : call);
    await gate;
    const error = failures.get(call);
    if (error) throw error;
  };
  const get = (name: string): FakeContainer => {
    const found = containers.get(name);
    if (!found) throw new Fault("not-found", `container ${name}`);
    return found;
  };
  const change = (name: string, fields: Partial<FakeContainer>): void => {
    Object.assign(get(name), fields);
    bus.emit("change");
  };
  const add = (spec: ContainerSpec, status: Container["status"]): void => {
    const { name, labels, image } = spec;
    const id = `c${++made}`;
    const running = status === "running" ? run(spec) : {};
    containers.set(name, { id, name, status, labels, image, spec, log: [], ...running });
    bus.emit("change");
  };
  const run = ({ address = `100.64.7.${made + 1}` }: ContainerSpec) => ({
    status: "running" as const,
    address,
    startedAt: now().toISOString(),
  });
  const end = (name: string, exitCode: number, oomKilled = false): void =>
    change(name, { status: "exited", exitCode, oomKilled, address: undefined });
  const stamp = (): string => `${now().toISOString().slice(0, -1)}000Z`;

  const engine: FakeEngine = {
    calls,
    containers,
    network: undefined,
    present: new Set(),
    fail: (call, error) => void (error ? failures.set(call, error) : failures.delete(call)),
    hang() {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return {
        release: () => {
          gate = Promise.resolve();
          resolve();
        },
      };
    },
    print(name, line, stream = "stdout") {
      get(name).log.push({ at: stamp(), stream, line });
      bus.emit("change");
    },
    exit: (name, exitCode, { oomKilled = false } = {}) => end(name, exitCode, oomKilled),
    add,

    async probe() {
      await enter("probe");
      return { version: "fake", architecture: "amd64" };
    },
    async list() {
      await enter("list");
      return [...containers.values()]
        .filter(isJobContainer)
        .map(({ spec: _, log: __, ...container }) => ({ ...container }));
    },
    async pull(image) {
      await enter("pull", image);
      engine.present.add(image);
    },
    async create(spec) {
      await enter("create", spec.name);
      if (!engine.present.has(spec.image)) throw new Fault("not-found", `image ${spec.image}`);
      const existing = containers.get(spec.name);
      if (existing === undefined) return add(spec, "created");
      if (existing.labels[LABELS.job] !== spec.labels[LABELS.job])
        throw new Fault("conflict", `create container ${spec.name}: the name is taken`);
    },
    async start(name) {
      await enter("start", name);
      const found = get(name);
      if (found.status === "running") return;
      const fields = run(found.spec);
      if ([...containers.values()].some(({ address }) => address === fields.address))
        throw addressTaken(`start container ${name}`);
      change(name, fields);
    },
    async signal(name, signalName) {
      await enter("signal", `${signalName} ${name}`);
      const found = containers.get(name);
      if (found?.status !== "running") return;
      const dies = signalName === "SIGKILL" && killable(name);
      const exitCode = signalName === "SIGTERM" ? onTerm(name) : dies ? 137 : undefined;
      if (exitCode !== undefined) end(name, exitCode);
    },
    async remove(name) {
      await enter("remove", name);
      containers.delete(name);
      bus.emit("change");
    },
    async *log(name, { since, signal }) {
      await enter("log", name);
      const found = get(name);
      const changes = on(bus, "change", { signal });
      let read = 0;
      try {
        for (;;) {
          for (const entry of found.log.slice(read)) {
            read++;
            if (since === undefined || entry.at >= since) yield { ...entry };
          }
          const alive = found.status === "running" || found.status === "created";
          if (read === found.log.length && (!alive || containers.get(name) !== found)) return;
          if (read === found.log.length) await changes.next();
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        await changes.return?.();
      }
    },
    async *changes(signal) {
      await enter("changes");
      try {
        for await (const _ of on(bus, "change", { signal })) yield;
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
    async ensureNetwork(network) {
      await enter("ensureNetwork");
      const { subnet = network.subnet } = engine.network ?? {};
      const users = [...containers.values()].filter(({ status }) => status === "running").map(({ name }) => name);
      if (subnet !== network.subnet && users.length > 0) throw networkInUse(network, { subnet, users });
      engine.network = network;
    },
    async networkSubnet(name) {
      await enter("networkSubnet");
      return engine.network?.name === name ? engine.network.subnet : undefined;
    },
    async images() {
      await enter("images");
      return [...engine.present].map((ref) => ({ ref, sizeBytes: 1 }));
    },
    async removeImage(ref) {
      await enter("removeImage", ref);
      engine.present.delete(ref);
    },
  };
  return engine;
}
