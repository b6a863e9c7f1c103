import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { allowedAddress, refusal } from "../../../control/drains/address.ts";
import { drainBuffer } from "../../../control/drains/buffer.ts";
import { parseRetryAfter } from "../../../control/drains/send-https.ts";
import { syslogFrame, syslogMessage } from "../../../control/drains/syslog.ts";
import { maskUrl, parseTarget } from "../../../control/drains/target.ts";

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

test("a syslog message is RFC 5424's, its parts from the line", () => {
  assert.is(syslogMessage(line()), "<14>1 2026-01-02T03:04:05.123456Z hello app web.job-1 - - listening");
  assert.is(
    syslogMessage(line({ source: "router", process: undefined, stream: "stderr" })),
    "<11>1 2026-01-02T03:04:05.123456Z hello router - - - listening",
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

test("a buffer keeps order and newest lines, and counts each line that it gives up exactly once", () => {
  const steps = fc.array(
    fc.oneof(fc.constant("push" as const), fc.constant("take" as const), fc.constant("done" as const)),
  );
  fc.assert(
    fc.property(steps, (list) => {
      const buffer = drainBuffer({ linesMost: 10, bytesMost: 1 << 20 });
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
