import { test } from "uvu";
import * as assert from "uvu/assert";
import { belonging } from "../../../hostd/sessions/processes.ts";

const processes = [
  { pid: 10, session: 10, environ: "PATH=/bin\0FLYNN_EXEC=host-1.exec-a.\0" },
  { pid: 11, session: 10, environ: "PATH=/bin\0" },
  { pid: 12, session: 12, environ: "A=1\0FLYNN_EXEC=host-1.exec-a.\0B=2" },
  { pid: 20, session: 20, environ: "FLYNN_EXEC=host-1.exec-ab.\0" },
  { pid: 30, session: 30, environ: "NOTE=FLYNN_EXEC=host-1.exec-a.\0" },
  { pid: 40, session: 40, environ: "FLYNN_EXEC=host-2.exec-a.\0" },
];

test("what a command started is known by its session and by its mark, also when it left the session", () => {
  assert.equal(belonging(processes, { pid: 10, mark: "host-1.exec-a." }), [10, 11, 12]);
});

test("after a restart all of this host's commands are known by the host alone", () => {
  assert.equal(belonging(processes, { mark: "host-1." }), [10, 12, 20]);
});

test("a variable that only mentions the mark is none", () => {
  assert.not.ok(belonging(processes, { mark: "host-1." }).includes(30));
});

test.run();
