// The first pass, inside the mutant's namespaces: one process that runs test files again and again, each time with its own uvu and with
// what leads to the broken source read afresh. A test file that takes seconds to start takes milliseconds so.
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";

/** Asked by the parent; the answer is whether the test file passed. */
export interface Question {
  test: string;
  /** Paths of the sources to read afresh: the broken one, the test, and what lies between. */
  afresh: readonly string[];
}

type Suite = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;
interface UvuGlobals {
  UVU_DEFER?: 1;
  UVU_QUEUE?: Suite[][];
}

const uvuGlobals = globalThis as UvuGlobals;
uvuGlobals.UVU_DEFER = 1; // uvu then leaves what it was told to run in its queue
const root = pathToFileURL(`${process.cwd()}/`).href;
const uvu = import.meta.resolve("uvu");
const turn = { number: 0, afresh: new Set<string>() };

registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context);
    const isAfresh = found.url === uvu || (found.url.startsWith(root) && turn.afresh.has(found.url.slice(root.length)));
    return isAfresh ? { ...found, url: `${found.url}?${turn.number}` } : found;
  },
});

const write = process.stdout.write.bind(process.stdout);
process.stdout.write = ((...args: Parameters<typeof write>) => {
  // How uvu shows a failed test. It ends a suite whose mark cannot be written, after its `after` hooks: one failed test is enough.
  if (args[0] === "✘ ") throw new Error("a test failed");
  return write(...args);
}) as typeof write;

async function passes({ test, afresh }: Question): Promise<boolean> {
  turn.number++;
  turn.afresh = new Set(afresh);
  const suites: Suite[] = [];
  uvuGlobals.UVU_QUEUE = [suites];
  try {
    await import(new URL(test, root).href);
  } catch {
    return false; // a file that cannot be loaded is a failed one, as in a process of its own
  }
  for (const suite of suites) {
    const [errors, passed, skipped, total] = await suite();
    if (errors !== true || passed < total || skipped > 0) return false;
  }
  return suites.length > 0;
}

process.on("disconnect", () => process.exit(1));
process.on("message", (question: Question) => {
  void passes(question).then((hasPassed) => process.send!(hasPassed));
});
