// Carries out one step on the engine. Starting a job is the long one: image, network, container, start, each bounded.
import { Fault, isFault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { Addresses } from "./addresses.ts";
import { type Engine, isAddressTaken } from "./engine/engine.ts";
import { containerName, containerSpec } from "./job-container.ts";
import { type JobNetwork, jobNetwork } from "./job-network.ts";
import type { Step } from "./plan.ts";
import type { ReachKeeper } from "./reach/reach.ts";
import { macOf } from "./reach/rules.ts";
import { limiter, singleflight } from "./singleflight.ts";

export interface ApplyOptions {
  engine: Engine;
  dns: (target: HostTarget) => string[];
  addresses: Pick<Addresses, "take">;
  network?: Pick<JobNetwork, "ensure">;
  /** No job starts before the rules that name it are in the kernel. */
  reach: Pick<ReachKeeper, "admit" | "dismiss" | "inForce">;
  /** Pulls of one image before the job counts as crashed and waits for its backoff. */
  pullAttempts?: number;
  pullBackoffMs?: number;
}

export interface StepContext {
  target: HostTarget;
  signal: AbortSignal;
  /** What a long step is at, for the job's reason. */
  onProgress: (reason: string) => void;
}

/** Docker may hold addresses that no container of ours shows: of a container made by hand, or lost in a crash of its own. */
const ADDRESS_TRIES = 16;

/** A start that failed for good; the message is the job's reason. Anything else thrown is the engine's trouble. */
export class StartError extends Error {}

type CreateStep = Extract<Step, { do: "create" }>;

export type Apply = (step: Step, context: StepContext) => Promise<void>;

export function createApply(options: ApplyOptions): Apply {
  const { engine, dns, addresses, reach, pullAttempts = 5, pullBackoffMs = 1_000 } = options;
  const { network = jobNetwork({ engine }) } = options;
  const pulls = limiter(3);
  const starts = limiter(4);
  const pullOnce = singleflight((image, signal) => pulls(() => engine.pull(image, signal), signal));

  const pull = async (image: string, { signal, onProgress }: StepContext): Promise<void> => {
    onProgress("pulling image");
    for (let attempt = 1; ; attempt++) {
      try {
        return await pullOnce(image, signal);
      } catch (error) {
        signal.throwIfAborted();
        const reason = causeChain(error)[0] ?? "";
        if (isFault(error, "invalid")) throw new StartError(reason, { cause: error });
        if (attempt >= pullAttempts) throw new StartError(`pull failed ${attempt} times: ${reason}`, { cause: error });
        onProgress(`pulling image, attempt ${attempt + 1}: ${reason}`);
        await sleep(backoffMs(attempt, pullBackoffMs, 15_000), signal);
      }
    }
  };

  /** A start that was refused leaves nothing behind; one without an answer may have worked and is looked at again. */
  const start = async (name: string): Promise<void> => {
    try {
      await engine.start(name);
    } catch (error) {
      if (isEngineTrouble(error)) throw error;
      await engine.remove(name);
      throw new StartError(startReason(error), { cause: error });
    }
  };

  /** Created and started at an address of its own; a start that was refused is returned. */
  const createOnce = async (step: CreateStep, { target, signal }: StepContext): Promise<StartError | undefined> => {
    const address = addresses.take(target.subnet);
    if (address === undefined) throw new StartError(`every address of ${target.subnet} is in use`);
    const macAddress = macOf(address);
    const spec = { ...containerSpec(step.job, target, dns(target), step.attempt), address, macAddress };
    // A container that is only made sends nothing: the rules are waited for before it is started. One with a client's streams is
    // started by whoever sees it.
    const admitted = reach.admit({ jobId: step.job.id, address });
    admitted.catch(() => undefined);
    if (step.job.task?.attach) await admitted;
    await engine.create(spec).catch((error: unknown) => {
      if (isEngineTrouble(error)) throw error;
      reach.dismiss(address);
      throw new StartError(startReason(error), { cause: error });
    });
    await admitted.catch(async (error: unknown) => {
      await engine.remove(spec.name);
      throw error;
    });
    signal.throwIfAborted();
    // One with a client's streams is started once they are there, or its first words would be lost.
    if (step.job.task?.attach) return undefined;
    return start(containerName(step.job.id)).then(
      () => undefined,
      (error: unknown) => {
        if (!(error instanceof StartError)) throw error;
        reach.dismiss(address);
        return error;
      },
    );
  };

  const create = async (step: CreateStep, context: StepContext): Promise<void> => {
    const { target, signal, onProgress } = context;
    await pull(step.job.image, context);
    await starts(async () => {
      onProgress("creating container");
      await network.ensure(target, signal);
      signal.throwIfAborted();
      for (let tries = 1; ; tries++) {
        const failure = await createOnce(step, context);
        if (failure === undefined) return;
        if (tries >= ADDRESS_TRIES || !isAddressTaken(failure.cause)) throw failure;
      }
    }, signal);
  };

  return async (step, context) => {
    if (step.do === "create") return create(step, context);
    if (step.do === "start") {
      await reach.inForce();
      return start(step.container);
    }
    if (step.do === "signal") return engine.signal(step.container, step.signal);
    if (step.do === "remove") return engine.remove(step.container);
  };
}

const isEngineTrouble = (error: unknown): boolean => isFault(error, "unavailable") || isFault(error, "timeout");

/** Docker's words for a refused start, made short. */
export function startReason(error: unknown): string {
  const text = (causeChain(error).at(-1) ?? "").replace(/^\(HTTP code \d+\) [^-]*- /, "").trim();
  if (error instanceof Fault && error.code === "conflict") return causeChain(error).join(": ").slice(0, 300);
  if (/exec format error/.test(text)) return "its program is for another architecture (exec format error)";
  const exec = /exec: "([^"]*)": (.*?)(?:: unknown)?$/.exec(text);
  return exec ? `cannot run "${exec[1]}": ${exec[2]}` : `could not be started: ${text.slice(0, 300)}`;
}
