// What grew shrinks again, and nothing in use moves.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../router/assignment.ts";
import { trimmed } from "../../router/trim.ts";

const slot = { jobId: "j", address: "10.0.0.1", port: 80, state: "up" as const };
const backend = (used: number, free: number, pool?: string): Backend => ({
  ...(pool ? { pool: { id: pool, app: pool } } : {}),
  slots: [...new Array(used).fill(slot), ...new Array(free).fill(null)],
});
const ROOM = { backends: 4, slots: 4, ports: new Set([3000]) };

const BACKENDS: [string, Backend[], number[]][] = [
  ["never below the first size", new Array(4).fill(backend(0, 4)), [4, 4, 4, 4]],
  ["free ones at the end go", new Array(64).fill(backend(0, 4)), [4, 4, 4, 4]],
  [
    "what is in use stays where it is, with room for as much again",
    [...new Array(5).fill(backend(0, 4)), backend(1, 3, "a"), ...new Array(26).fill(backend(0, 4))],
    new Array(12).fill(4),
  ],
  [
    "what has just doubled stays",
    [...new Array(4).fill(backend(1, 3, "a")), ...new Array(4).fill(backend(0, 4))],
    new Array(8).fill(4),
  ],
  ["slots likewise", [backend(8, 8, "a"), backend(1, 63, "b"), backend(0, 64), backend(0, 4)], [16, 4, 4, 4]],
  [
    "a slot that is being left counts",
    [backend(0, 4), backend(0, 4), backend(0, 4), backend(0, 4), backend(1, 3), backend(0, 4)],
    new Array(6).fill(4),
  ],
];
for (const [title, backends, sizes] of BACKENDS)
  test(`room: ${title}`, () =>
    assert.equal(
      trimmed({ backends }, ROOM).backends.map(({ slots }) => slots.length),
      sizes,
    ));

test("ports without a route that are not of the range go", () => {
  const tcp = [3000, 4000, 5000].map((port) => ({ port, ...backend(0, 4, port === 5000 ? "a" : undefined) }));
  assert.equal(
    trimmed({ backends: [], tcp }, ROOM).tcp?.map(({ port }) => port),
    [3000, 5000],
  );
  assert.is(trimmed({ backends: [], tcp: tcp.slice(1, 2) }, ROOM).tcp, undefined);
});

test.run();
