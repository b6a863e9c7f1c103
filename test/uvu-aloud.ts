// uvu as test files get it from the runner: what a hook throws, and an error that uvu cannot print (no Error, or one whose `details`
// are no text), is printed. uvu gives the suite up at both without a word.
import { inspect } from "node:util";
import * as uvu from "uvu";

type Handler = (context: never) => unknown;
type Hook = ((handler: Handler) => void) & { each: (handler: Handler) => void };
type Suite = ((name: string, handler: Handler) => void) & Record<string, unknown> & Record<"before" | "after", Hook>;

const FAIL = "FAIL  ";

function aloud(what: string, handler: Handler): Handler {
  return async (context) => {
    try {
      return await handler(context);
    } catch (error) {
      const shown = inspect(error, { depth: 6 }).replaceAll("\n", "\n    ");
      process.stdout.write(`\n ${FAIL}${what}\n    ${shown}\n`);
      throw error;
    }
  };
}

const canPrint = (error: unknown): boolean => {
  const details = (error as { details?: unknown } | undefined)?.details;
  return error instanceof Error && (!details || typeof details === "string");
};

/** As the handler, but what it throws is an error that uvu can print. */
function printable(handler: Handler): Handler {
  return async (context) => {
    try {
      return await handler(context);
    } catch (error) {
      if (canPrint(error)) throw error;
      throw new Error(inspect(error, { depth: 6 }), { cause: error });
    }
  };
}

function wrapped(suite: Suite): Suite {
  const hook = (name: "before" | "after"): Hook => {
    const each = (handler: Handler) => suite[name].each(aloud(`the hook ${name} each`, handler));
    return Object.assign((handler: Handler) => suite[name](aloud(`the hook ${name}`, handler)), { each });
  };
  const takes = (add: (name: string, handler: Handler) => void) => (name: string, handler: Handler) =>
    add(name, printable(handler));
  return Object.assign(takes(suite), {
    only: takes(suite["only"] as Suite),
    skip: suite["skip"],
    run: suite["run"],
    before: hook("before"),
    after: hook("after"),
  }) as unknown as Suite;
}

export const suite = (name?: string, state?: object): Suite =>
  wrapped(uvu.suite(name as string, state as never) as unknown as Suite);
export const test = wrapped(uvu.test as unknown as Suite);
export const { exec } = uvu;
