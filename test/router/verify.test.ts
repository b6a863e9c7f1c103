// Texts as HAProxy 2.6.12 printed them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  isDone,
  parseMap,
  parseProcesses,
  parseServersState,
  parseSessions,
  splitReplies,
} from "../../router/verify.ts";

const HEADER =
  "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

test("servers state: ready, disabled in the configuration, opened afterwards, draining", () => {
  const rows = [
    "3 be_0001 1 s1 127.0.0.1 2 0 1 1 0 6 3 2 6 0 0 0 - 18081 - 0 0 - - 0",
    "3 be_0001 2 s2 127.0.0.1 0 5 1 1 1 1 0 0 14 0 0 0 - 1 - 0 0 - - 0",
    "3 be_0001 3 s3 127.0.0.1 0 4 1 1 1 8 2 0 6 0 0 0 - 18084 - 0 0 - - 0",
    "3 be_0001 4 s4 127.0.0.1 2 8 1 1 1 8 2 0 6 0 0 0 - 18085 - 0 0 - - 0",
  ];
  const slots = parseServersState(`1\n${HEADER}\n${rows.join("\n")}\n\n`);
  assert.equal(slots.get("be_0001/s1"), { address: "127.0.0.1", port: 18081, mode: "ready", weight: 1, isUp: true });
  assert.equal(
    [...slots.values()].map(({ mode, isUp }) => `${mode} ${isUp}`),
    ["ready true", "maint false", "ready false", "drain true"],
  );
});

for (const text of ["", "Unknown command", "2\n# other\n", `1\n${HEADER}\n3 be_0001 1 s1 127.0.0.1 2 x 1\n`])
  test(`servers state ${JSON.stringify(text.slice(-30))} is an error, not an empty state`, () =>
    assert.throws(() => parseServersState(text), /servers state/));

test("a map's entries by key, and a key that is there twice is marked", () => {
  assert.equal(
    [
      ...parseMap(
        "0x55a9f736f960 a.test/ be_0001\n0x55a9f736f9d0 a.test/api/ be_0002\n0x55a9f736fa60 a.test/ be_0003\n\n",
      ),
    ],
    [
      ["a.test/", "\0twice"],
      ["a.test/api/", "be_0002"],
    ],
  );
  assert.equal([...parseMap("\n")], []);
  assert.throws(() => parseMap("Unknown map identifier. Please use #<id> or <file>.\n\n"), /map:/);
});

test("sessions are open and waiting requests", () => {
  const text = "# pxname,svname,qcur,qmax,scur,smax,slim\nbe_0001,s1,2,0,3,1,\nbe_0001,s2,0,0,0,0,\n\n";
  assert.equal(
    [...parseSessions(text)],
    [
      ["be_0001/s1", 5],
      ["be_0001/s2", 0],
    ],
  );
  assert.throws(() => parseSessions("\n"), /stat/);
});

const PROCESSES = (rows: string) =>
  `#<PID>          <type>          <reloads>       <uptime>        <version>      \n${rows}\n`;

test("processes: the master, its worker, and old workers told apart", () => {
  const text = PROCESSES(
    "15453           master          1 [failed: 0]   0d00h00m22s     2.6.12-1+deb12u4\n# workers\n17367           worker          0               0d00h00m00s     2.6.12-1+deb12u4\n# old workers\n15500           worker          1               0d00h00m22s     2.6.12-1+deb12u4\n15400           worker          2               0d00h00m40s     2.6.12-1+deb12u4\n# programs\n",
  );
  assert.equal(parseProcesses(text), {
    master: 15453,
    worker: 17367,
    old: [15500, 15400],
    oldest: { reloads: 2, replacedMs: 22_000 },
  });
  const longAgo = PROCESSES(
    "9 master 1 [failed: 0] 9d00h00m22s 2.6.12\n# workers\n17 worker 0 2d03h04m05s 2.6.12\n# old workers\n15 worker 7 8d00h00m22s 2.6.12\n",
  );
  assert.equal(parseProcesses(longAgo).oldest, { reloads: 7, replacedMs: ((51 * 60 + 4) * 60 + 5) * 1_000 });
  assert.throws(() => parseProcesses(""), /processes/);
});

test("replies to commands on one line are told apart by their empty lines", () => {
  assert.equal(splitReplies("\nNo such server.\n\n\n", 3), ["", "No such server.", ""]);
  assert.equal(splitReplies("IP changed\nand port\n\n", 1), ["IP changed\nand port"]);
  assert.throws(() => splitReplies("\n", 2), /2 commands got 1 replies/);
  assert.throws(() => splitReplies("\ncut off", 1), /replies/);
});

test("silence is success, and for an address what changed is", () => {
  assert.ok(isDone("set server a/b state ready", ""));
  assert.not.ok(isDone("set server a/b state ready", "No such server."));
  assert.ok(
    isDone(
      "set server a/b addr 1.2.3.4 port 5",
      "no need to change the addr, port changed from '1' to '5' by 'stats socket command'",
    ),
  );
  assert.not.ok(isDone("set server a/b addr 1.2.3.4 port 5", ""));
  assert.not.ok(isDone("set server a/b addr x port 5", "Invalid addr format"));
});

test.run();
