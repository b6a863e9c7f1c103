// A quick look at a mutant before the full one: its nearest quick tests in a process that is used again. It only ever says "caught", and
// only of a test that passes in the same process once the source is whole again; whatever else happens, the full pass decides.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Copy } from "./copy.ts";
import type { Question } from "./one-process.ts";
import { type Mutant, mutated } from "./operators.ts";

export interface FirstPass {
  /** The first of the tests that fails with the mutant and passes without. */
  caughtBy(mutant: Mutant, source: string, asked: Asked): Promise<string | undefined>;
  end(): Promise<void>;
}

interface Asked {
  tests: readonly string[];
  afresh: readonly string[];
  /** Of each test. */
  limitMs: number;
}

/** A process keeps every mutant that it has read in memory, and what their tests left open. */
const MOST_MUTANTS = 40;

export function firstPass(copy: Pick<Copy, "start" | "write">): FirstPass {
  const open: { child?: ChildProcess; mutants: number } = { mutants: 0 };

  const end = async () => {
    const { child } = open;
    delete open.child;
    open.mutants = 0;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL"); // its namespaces end with it
    await gone;
  };

  /** Undefined when there is no answer: it took too long, or the process ended. */
  const ask = async (question: Question, limitMs: number): Promise<boolean | undefined> => {
    const child = open.child ?? copy.start();
    open.child = child;
    const answer = await new Promise<boolean | undefined>((resolve) => {
      const timer = setTimeout(() => done(undefined), limitMs);
      const onEnd = () => done(undefined);
      const done = (said: boolean | undefined) => {
        clearTimeout(timer);
        child.off("message", done).off("exit", onEnd).off("error", onEnd);
        resolve(said);
      };
      child.on("message", done).on("exit", onEnd).on("error", onEnd);
      child.send(question, (error) => error && done(undefined));
    });
    if (answer === undefined) await end();
    return answer;
  };

  return {
    end,
    async caughtBy(mutant, source, { tests, afresh, limitMs }) {
      if (open.mutants++ >= MOST_MUTANTS) await end();
      for (const test of tests) {
        await copy.write(mutant.path, mutated(source, mutant));
        const broken = await ask({ test, afresh }, limitMs).finally(() => copy.write(mutant.path, source));
        if (broken === undefined) return undefined;
        if (broken) continue;
        const isSound = await ask({ test, afresh }, limitMs);
        if (isSound) return test;
        await end(); // the mutant has harmed the process, or the test is none for this pass
      }
      return undefined;
    },
  };
}
