// Long computations in slices: a rule that goes through every pool yields now and then, and whoever runs it here lets the
// rest of the program (liveness, sockets, the access log) have its turn in between.
import { setImmediate as nextTurn } from "node:timers/promises";

const SLICE_MS = 8;
/** Rows of a list made text between two looks at the clock. */
const ROWS = 200;

/** Runs it with a turn of the event loop for others after each 8 ms. */
export async function inSlices<T>(steps: Generator<void, T>): Promise<T> {
  for (let fromMs = performance.now(); ; ) {
    const { done, value } = steps.next();
    if (done) return value;
    if (performance.now() - fromMs < SLICE_MS) continue;
    await nextTurn();
    fromMs = performance.now();
  }
}

export function atOnce<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** JSON of an object whose lists may be long, some rows at a time. */
export function* stringified(value: object): Generator<void, string> {
  if (Array.isArray(value)) return yield* stringifiedList(value);
  const fields: string[] = [];
  for (const [name, field] of Object.entries(value))
    if (field !== undefined)
      fields.push(
        `${JSON.stringify(name)}:${Array.isArray(field) ? yield* stringifiedList(field) : JSON.stringify(field)}`,
      );
  return `{${fields.join(",")}}`;
}

function* stringifiedList(rows: readonly unknown[]): Generator<void, string> {
  const texts: string[] = [];
  for (let from = 0; from < rows.length; from += ROWS) {
    texts.push(JSON.stringify(rows.slice(from, from + ROWS)).slice(1, -1));
    yield;
  }
  return `[${texts.join(",")}]`;
}
