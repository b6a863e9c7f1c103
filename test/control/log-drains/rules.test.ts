import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { allowedAddress, refusal } from "../../../control/log-drains/address.ts";
import { lineBuffer } from "../../../control/log-drains/buffer.ts";
import { parseRetryAfter } from "../../../control/log-drains/send-https.ts";
import { syslogFrame, syslogMessage } from "../../../control/log-drains/syslog.ts";
import { maskUrl, parseTarget } from "../../../control/log-drains/target.ts";

const policy = { allow: [] as string[], clusterRange: "100.64.0.0/16", members: () => ["203.0.113.7"] };

for (const address of [
  ...["127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.9", "169.254.169.254", "0.0.0.0"],
  ...["224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "203.0.113.7"],
  ...[
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
  ],
  ...["fe80::1%eth0", "168.63.129.16", "not-an-address", "", "127.1"],
])
  test(`a drain may not send to ${address || "nothing"}`, () => assert.type(refusal(address, policy), "string"));

for (const address of ["198.51.100.4", "8.8.8.8", "2600:1f18::1"])
  test(`a drain may send to the public ${address}`, () => assert.is(refusal(address, policy), undefined));

test("what an operator allows is allowed: private ranges and loopback, members by their exact address, never the cluster or metadata", () => {
  const allow = ["10.0.0.0/8", "127.0.0.0/8", "203.0.113.0/24", "100.64.0.0/10", "169.254.0.0/16", "::1"];
  const open = { ...policy, allow };
  for (const address of ["10.2.3.4", "127.0.0.1", "::1", "::ffff:10.0.0.1"])
    assert.is(refusal(address, open), undefined, address);
  for (const address of ["203.0.113.7", "100.64.3.3", "169.254.169.254", "192.168.0.1"])
    assert.type(refusal(address, open), "string", address);
  assert.is(refusal("203.0.113.7", { ...open, allow: ["203.0.113.7/32"] }), undefined);
});

test("of a name's addresses only an allowed one is taken, and none is no", async () => {
  const of = (...addresses: string[]) => allowedAddress("logs.test", policy, async () => addresses);
  assert.is(await of("127.0.0.1", "198.51.100.4"), "198.51.100.4");
  for (const addresses of [["127.0.0.1"], ["169.254.169.254", "10.0.0.1"], []]) {
    const error = await of(...addresses).catch((caught: unknown) => caught);
    assert.ok(isFault(error, "forbidden"), String(addresses));
  }
});

test("URLs of the three kinds are read, all others are refused in words", () => {
  assert.equal(parseTarget("syslog://logs.test:514"), { kind: "syslog", host: "logs.test", port: 514, path: "" });
  assert.is(parseTarget("syslog+tls://logs.test").port, 6514);
  const https = parseTarget("https://u%40x:p%3Aw@[2600::1]:8443/in/x?k=v");
  assert.equal(https, { kind: "https", host: "2600::1", port: 8443, path: "/in/x?k=v", credentials: "u@x:p:w" });
  for (const url of [
    ...[
      "http://logs.test",
      "ftp://x",
      "syslog://",
      "syslog://u:p@logs.test",
      "syslog://logs.test/x",
      "https://",
      "x",
      "",
    ],
    ...["file:///etc/passwd", "javascript:alert(1)", "https://exa mple.test"],
  ])
    assert.throws(
      () => parseTarget(url),
      (error: unknown) => isFault(error, "invalid"),
      url,
    );
});

test("no secret of a URL is in what is shown of it", () => {
  const secret = fc.stringMatching(/^[a-zA-Z0-9]{20,40}$/);
  fc.assert(
    fc.property(secret, secret, secret, secret, (user, password, part, value) => {
      const shown = maskUrl(`https://${user}:${password}@logs.test/in/${part}?key=${value}`);
      for (const text of [user, password, part, value]) assert.not.ok(shown.includes(text));
      assert.match(shown, "https://***@logs.test/in/***?key=***");
    }),
  );
});

test("what is shown of a URL keeps what is no secret: host, port, short parts of the path, names of the query", () => {
  for (const [url, shown] of [
    ["https://logs.test/", "https://logs.test"],
    ["https://logs.test:8443/in/v1", "https://logs.test:8443/in/v1"],
    ["https://u@logs.test/", "https://***@logs.test"],
    ["https://:p@logs.test/", "https://***@logs.test"],
    [`https://logs.test/${"a".repeat(15)}/${"b".repeat(16)}`, `https://logs.test/${"a".repeat(15)}/***`],
    ["https://logs.test/x?a=1&b=2", "https://logs.test/x?a=***&b=***"],
    [`https://logs.test/?${"n".repeat(31)}=1`, `https://logs.test?${"n".repeat(30)}=***`],
    ["syslog://logs.test:514", "syslog://logs.test:514"],
  ] as const)
    assert.is(maskUrl(url), shown);
});

test("a target's port is the one in its URL, or that of its kind; a login of one part is one", () => {
  const ports = ["syslog://a", "syslog+tls://a", "https://a", "syslog://a:1", "https://a:65535"].map(
    (url) => parseTarget(url).port,
  );
  assert.equal(ports, [601, 6514, 443, 1, 65535]);
  assert.equal(
    ["https://u@a/", "https://:p@a/", "https://a/"].map((url) => parseTarget(url).credentials),
    ["u:", ":p", undefined],
  );
  assert.equal(
    ["https://a", "https://a/x?y=1"].map((url) => parseTarget(url).path),
    ["/", "/x?y=1"],
  );
  for (const url of ["syslog://u@a", "syslog://:p@a", "syslog://a?x=1", "syslog+tls://a/x", "syslog://a b"])
    assert.throws(
      () => parseTarget(url),
      (error: unknown) => isFault(error, "invalid"),
      url,
    );
  assert.is(parseTarget("syslog://a/").path, "/", "an empty path is none");
});

const line = (fields: Partial<LogLine> = {}): LogLine => ({
  at: "2026-01-02T03:04:05.123456Z",
  app: "hello",
  process: "web",
  jobId: "job-1",
  stream: "stdout",
  source: "app",
  line: "listening",
  ...fields,
});

test("each part of a syslog message has its length and its signs, and the text is one line", () => {
  const parts = (fields: Partial<LogLine>) => syslogMessage(line(fields)).split(" ").slice(2);
  const long = "x".repeat(300);
  const [app, source, proc] = parts({ app: long, source: long as never, process: long, jobId: "j" });
  assert.equal([app?.length, source?.length, proc?.length], [255, 48, 128]);
  assert.equal(parts({ app: "a b\u00e9", process: "w w" }).slice(0, 3), ["a_b_", "app", "w_w.job-1"]);
  assert.is(parts({ app: "" })[0], "-");
  assert.equal([parts({ process: undefined })[2], parts({ jobId: undefined })[2]], ["-", "-"]);
  const text = syslogMessage(line({ line: "a\tb\u001b[1mc\nd\u0000e\u007ff\ud800" })).split(" - - ")[1];
  assert.is(text, "a\tb\u001b[1mc d e f\ufffd", "tab and escape stay, for they are no line's end");
});

test("a syslog message is RFC 5424's, its parts from the line", () => {
  assert.is(syslogMessage(line()), "<14>1 2026-01-02T03:04:05.123456Z hello app web.job-1 - - listening");
  assert.is(
    syslogMessage(line({ source: "router", process: undefined, stream: "stderr" })),
    "<11>1 2026-01-02T03:04:05.123456Z hello router - - - listening",
  );
  assert.is(
    syslogMessage(line({ partial: true })),
    "<14>1 2026-01-02T03:04:05.123456Z hello app web.job-1 part - listening",
    "a piece of a longer line says that the next message goes on with it",
  );
});

test("frames put one after another are taken apart again, whatever the lines hold", () => {
  const texts = fc.array(fc.string({ unit: "binary", maxLength: 300 }), { minLength: 1 });
  fc.assert(
    fc.property(texts, (list) => {
      let bytes = Buffer.concat(list.map((text) => syslogFrame(line({ line: text }))));
      let count = 0;
      for (; bytes.length > 0; count++) {
        const space = bytes.indexOf(" ");
        const length = Number(bytes.toString("latin1", 0, space));
        const message = bytes.toString("utf8", space + 1, space + 1 + length);
        assert.match(message, /^<14>1 2026-01-02T03:04:05\.123456Z hello app web\.job-1 - - /);
        assert.not.match(message, /[\n\0]/);
        bytes = bytes.subarray(space + 1 + length);
      }
      assert.is(count, list.length);
    }),
  );
});

test("a buffer is full by lines or by bytes, whichever comes first, and says what is sent, lost and oldest", () => {
  const filled = (linesMost: number, bytesMost: number, count: number) => {
    const buffer = lineBuffer({ linesMost, bytesMost });
    for (let n = 0; n < count; n++) buffer.push(line({ line: `${n}`.padStart(100, "0"), at: String(n) }), `place ${n}`);
    return buffer;
  };
  assert.equal([filled(10, 1 << 20, 10).dropped, filled(10, 1 << 20, 11).dropped], [0, 2], "a tenth at once");
  assert.equal(
    [filled(100, 3_000, 10).dropped, filled(100, 3_000, 11).dropped],
    [0, 2],
    "a line counts 200 bytes more",
  );
  const buffer = filled(10, 1 << 20, 12);
  assert.is(buffer.oldestAt(), "2");
  assert.is(lineBuffer({ linesMost: 1, bytesMost: 1 }).take(1, 1), undefined, "nothing to send is no batch");
  const batch = buffer.take(3, 1 << 20)!;
  assert.equal([batch.lines.length, batch.lost, batch.place], [3, 2, "place 4"]);
  assert.is(buffer.take(3, 1 << 20)!.lines[0]!.at, "2", "sent again until it is done");
  buffer.done();
  assert.equal([buffer.oldestAt(), buffer.take(9, 1 << 20)!.lost], ["5", 0], "what was lost is told once");
  assert.is(buffer.take(9, 1)!.lines.length, 1, "one line at least, however long");
  assert.is(buffer.take(9, 301)!.lines.length, 2);
});

test("what was lost is told with one batch, and what is lost meanwhile with the next, however often a batch is done", () => {
  const buffer = lineBuffer({ linesMost: 10, bytesMost: 1 << 20 });
  const push = (count: number) => {
    for (let n = 0; n < count; n++) buffer.push(line());
  };
  push(11);
  assert.is(buffer.take(2, 1 << 20)!.lost, 2);
  push(2);
  assert.equal([buffer.dropped, buffer.length], [4, 9]);
  buffer.done();
  buffer.done();
  assert.is(buffer.take(2, 1 << 20)!.lost, 2, "those that were lost since");
  buffer.done();
  assert.is(buffer.take(2, 1 << 20)!.lost, 0);
  const idle = lineBuffer({ linesMost: 10, bytesMost: 1 << 20 });
  idle.done();
  idle.push(line());
  assert.equal([idle.length, idle.take(9, 9)!.lost], [1, 0], "done with nothing taken gives nothing up");
});

test("lines that are being sent are not given up for those that come, and their bytes are free when they are done", () => {
  const buffer = lineBuffer({ linesMost: 1_000, bytesMost: 3_000 });
  const push = (count: number, at = "") => {
    for (let n = 0; n < count; n++) buffer.push(line({ line: "x".repeat(100), at }));
  };
  push(10, "first");
  assert.is(buffer.take(4, 1 << 20)!.lines.length, 4);
  push(5, "second");
  assert.equal([buffer.oldestAt(), buffer.length, buffer.dropped], ["first", 9, 6]);
  buffer.done();
  assert.equal([buffer.length, buffer.oldestAt()], [5, "second"]);
  push(5);
  assert.equal([buffer.length, buffer.dropped], [10, 6], "3,000 bytes again, and none too many");
  for (let round = 0; round < 100; round++) {
    assert.is(buffer.take(10, 1 << 20)!.lines.length, 10);
    buffer.done();
    push(10);
  }
  assert.equal([buffer.length, buffer.dropped], [10, 6], "nothing adds up");
  push(1);
  assert.equal([buffer.length, buffer.dropped], [9, 8]);
});

test("a batch has no place when none of its lines has one, and the last that one has otherwise", () => {
  const buffer = lineBuffer({ linesMost: 10, bytesMost: 1 << 20 });
  buffer.push(line());
  assert.not("place" in buffer.take(1, 1)!);
  buffer.push(line(), "a");
  buffer.push(line());
  assert.is(buffer.take(3, 1 << 20)!.place, "a");
  assert.is(lineBuffer({ linesMost: 1, bytesMost: 1 }).oldestAt(), undefined);
});

test("a buffer keeps order and newest lines, and counts each line that it gives up exactly once", () => {
  const steps = fc.array(
    fc.oneof(fc.constant("push" as const), fc.constant("take" as const), fc.constant("done" as const)),
  );
  fc.assert(
    fc.property(steps, (list) => {
      const buffer = lineBuffer({ linesMost: 10, bytesMost: 1 << 20 });
      let pushed = 0;
      let told = 0;
      let inFlight: number[] = [];
      const sent: number[] = [];
      for (const step of list) {
        if (step === "push") buffer.push(line({ line: String(pushed++) }));
        if (step === "take" && inFlight.length === 0) {
          const batch = buffer.take(4, 1 << 20);
          inFlight = batch?.lines.map(({ line: text }) => Number(text)) ?? [];
          if (batch) told += batch.lost;
        }
        if (step === "done" && inFlight.length > 0) {
          sent.push(...inFlight);
          inFlight = [];
          buffer.done();
        }
        assert.ok(buffer.length <= 10 + inFlight.length);
        assert.is(sent.length + buffer.length + buffer.dropped, pushed);
      }
      assert.equal(
        sent,
        sent.toSorted((a, b) => a - b),
      );
      assert.ok(told <= buffer.dropped);
    }),
  );
});

for (const [text, expected] of [
  ["5", 5_000],
  ["0", 0],
  [new Date(60_000).toUTCString(), 50_000],
  ["999999999", 600_000],
  ["soon", undefined],
  [undefined, undefined],
] as const)
  test(`Retry-After ${text} is ${expected} ms`, () => assert.is(parseRetryAfter(text, 10_000), expected));

test.run();
