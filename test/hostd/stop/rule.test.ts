import { test } from "uvu";
import * as assert from "uvu/assert";
import { firstRound, type JobProcess, nextRound, RULE_MOST_PROCESSES, resumed } from "../../../hostd/stop/rule.ts";

function one(pid: number, parent: number, argv: string, fields: Partial<JobProcess> = {}): JobProcess {
  const words = argv.split(" ");
  return { pid, parent, name: words[0]!.slice(0, 15), argv: words, takesTime: false, outputs: ["pipe:[1]"], ...fields };
}
const init = one(1, 0, "docker-init");
const app = (pid: number, parent: number, fields: Partial<JobProcess> = {}) =>
  one(pid, parent, "node x.js", { takesTime: true, ...fields });
const laterOf = ({ later }: { later: ReadonlyMap<number, readonly number[]> }) =>
  Object.fromEntries([...later].map(([pid, after]) => [pid, [...after]]));

const SHAPES: [claim: string, processes: JobProcess[], now: number[], later: Record<number, number[]>][] = [
  ["a program that is alone gets it itself", [init, app(2, 1)], [2], {}],
  ["an init that is left alone gets it too", [init], [1], {}],
  ["a shell waits for the app it waits for", [init, one(2, 1, "sh -c"), app(3, 2)], [3], { 2: [3] }],
  [
    "a starter of scripts, which would pass it on a second time, waits for the app",
    [init, one(2, 1, "npm start", { takesTime: true, argv: ["npm start"] }), one(3, 2, "sh -c"), app(4, 3)],
    [4],
    { 3: [4], 2: [4] },
  ],
  [
    "so does one that Node.js runs from a file",
    [init, one(2, 1, "node /usr/lib/bin/yarn.js start", { takesTime: true }), app(4, 2)],
    [4],
    { 2: [4] },
  ],
  [
    "an app that is told of a starter in its arguments is none, and gets it at once with what it started",
    [init, one(2, 1, "node x.js npm", { takesTime: true }), app(3, 2)],
    [2, 3],
    {},
  ],
  [
    "filters behind an app read to its end",
    [
      init,
      one(2, 1, "sh -c"),
      app(3, 2, { outputs: ["pipe:[7]", "pipe:[1]"] }),
      one(4, 2, "grep x", { input: "pipe:[7]", outputs: ["pipe:[8]"] }),
      one(5, 2, "cat", { input: "pipe:[8]" }),
    ],
    [3],
    { 2: [3], 4: [3], 5: [3] },
  ],
  [
    "a filter that waits for itself is no wait without end",
    [init, app(3, 1, { outputs: ["pipe:[7]"] }), one(4, 1, "cat", { input: "pipe:[7]", outputs: ["pipe:[7]"] })],
    [3],
    { 4: [3] },
  ],
  [
    "where nobody takes time, all get it at once",
    [init, one(2, 1, "sh -c"), one(3, 2, "worker"), one(4, 2, "cat")],
    [2, 3, 4],
    {},
  ],
  [
    "what a script with a handler waits for gets it with the script, which hears it only then",
    [init, one(2, 1, "bash run.sh", { takesTime: true }), one(3, 2, "sleep 1000")],
    [2, 3],
    {},
  ],
  [
    "of several apps of one shell each gets it, and the shell waits for all",
    [init, one(2, 1, "sh -c"), app(3, 2), app(4, 2), one(5, 2, "tail -f")],
    [3, 4, 5],
    { 2: [3, 4] },
  ],
  ["a master and its workers get it", [init, app(2, 1), app(3, 2), app(4, 2)], [2, 3, 4], {}],
  ["an image's own init passes on nothing twice", [init, one(2, 1, "tini -- node"), app(3, 2)], [3], {}],
  [
    "a command of a session gets it, and no shell of the job waits for it",
    [init, one(2, 1, "sh -c"), app(3, 2), one(9, 0, "bash", { takesTime: true })],
    [3, 9],
    { 2: [3] },
  ],
];
for (const [claim, processes, now, later] of SHAPES)
  test(claim, () => {
    const found = firstRound(processes);
    assert.equal(found.now, now);
    assert.equal(laterOf(found), later);
  });

test("of a crowd all get it at once, and filters that share one pipe are no work without end", () => {
  const shared = { input: "pipe:[7]", outputs: ["pipe:[7]"] };
  const crowd = (apps: number, filters: number) => [
    init,
    ...Array.from({ length: apps }, (_, n) => app(10 + n, 1, { outputs: ["pipe:[7]"] })),
    ...Array.from({ length: filters }, (_, n) => one(5_000 + n, 1, "cat", shared)),
  ];
  const small = firstRound(crowd(100, 100));
  assert.is(small.now.length, 100);
  assert.ok([...small.later.values()].every((after) => after.length === 100));
  const most = firstRound(crowd(100, RULE_MOST_PROCESSES - 101));
  assert.equal([most.now.length, most.later.size], [100, RULE_MOST_PROCESSES - 101]);
  const more = firstRound(crowd(100, RULE_MOST_PROCESSES - 100));
  assert.equal([more.now.length, more.later.size], [RULE_MOST_PROCESSES, 0]);
  const large = firstRound(crowd(500, 520));
  assert.equal([large.now.length, large.later.size], [1_020, 0]);
});

test("whoever waited gets it when the last it waited for has ended, and once", () => {
  const shell = one(2, 1, "sh -c");
  const first = firstRound([init, shell, app(3, 2), app(4, 2)]);
  const second = nextRound([init, shell, app(4, 2)], first);
  assert.equal(second.now, []);
  const third = nextRound([init, shell], second);
  assert.equal(third.now, [2]);
  assert.equal(nextRound([init, shell], third).now, []);
});

test("a script that starts the next program after the one that ended is stopped with it", () => {
  const shell = one(2, 1, "sh -c");
  const first = firstRound([init, shell, app(3, 2)]);
  assert.equal(nextRound([init, shell, app(5, 2)], first).now, [2, 5]);
});

test("one that was forked while the others were told gets it; the helper of an app that is ending does not", () => {
  const shell = one(2, 1, "sh -c");
  const first = firstRound([init, shell, app(3, 2)]);
  assert.equal(nextRound([init, shell, app(3, 2), app(6, 2)], first).now, [6], "of a shell that waits");
  const helper = one(7, 3, "pg_dump");
  const second = nextRound([init, shell, app(3, 2), helper], first);
  assert.equal(second.now, [], "of an app that was told");
  assert.equal(nextRound([init, shell, { ...helper, parent: 1 }], second).now, [2, 7], "once that app has gone");
});

test("after a restart of hostd whoever takes time is not told again", () => {
  const shell = one(2, 1, "sh -c");
  const state = resumed([init, shell, app(3, 2)]);
  assert.equal(nextRound([init, shell, app(3, 2)], state).now, []);
  assert.equal(nextRound([init, shell], state).now, [2]);
});

test.run();
