// The small parsers of words that commands take.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { splitRoute } from "../../cli/apps/route-label.ts";
import { tagChanges } from "../../cli/apps/tag-changes.ts";
import { clusterUrl } from "../../cli/commands/cluster.ts";
import { socketOf } from "../../cli/deploy/local-docker.ts";
import { envChanges } from "../../cli/env/changes.ts";
import { envName } from "../../cli/env/name.ts";
import { appOfUrl, remoteUrl } from "../../cli/git/git.ts";
import { logLine } from "../../cli/jobs/log-line.ts";
import { durationMs, moment } from "../../cli/parse/duration.ts";

const refused = (work: () => unknown) => assert.throws(work, (error: unknown) => isFault(error, "invalid"));

test("variables are split at the first =", () => {
  assert.equal(envChanges(["A=1", "B=x=y", "C=", "A=2"]), { A: "2", B: "x=y", C: "" });
  for (const word of ["A", "=1", "1A=x", "A-B=1", "A B=1"]) refused(() => envChanges([word]));
  refused(() => envName("A=1"));
});

test("tags are set with = and removed with -", () => {
  assert.equal(tagChanges(["zone=a", "old-", "empty=", "a-b=c-"]), { zone: "a", old: null, empty: "", "a-b": "c-" });
  for (const word of ["zone", "-", "=a"]) refused(() => tagChanges([word]));
});

test("a cluster's URL is https, with port 7777 unless it says another", () => {
  assert.is(clusterUrl("https://10.77.0.1:7777"), "https://10.77.0.1:7777");
  assert.is(clusterUrl("10.77.0.1"), "https://10.77.0.1:7777");
  assert.is(clusterUrl("https://c.example/"), "https://c.example:7777");
  assert.is(clusterUrl("c.example:1234"), "https://c.example:1234");
  assert.is(clusterUrl("https://c.example:443"), "https://c.example");
  for (const text of ["http://x", "https://x/path", "https://u@x", "ftp://x", "", "https://", "a b"])
    refused(() => clusterUrl(text));
});

test("a route is a domain and perhaps a path", () => {
  assert.equal(splitRoute("Hello.Test"), { domain: "hello.test" });
  assert.equal(splitRoute("hello.test/"), { domain: "hello.test" });
  assert.equal(splitRoute("hello.test/Api/v1"), { domain: "hello.test", path: "/Api/v1" });
  refused(() => splitRoute("http://hello.test"));
});

test("times are durations, or moments", () => {
  assert.is(durationMs("--timeout", "5m"), 300_000);
  assert.is(durationMs("--timeout", undefined), undefined);
  refused(() => durationMs("--timeout", "5"));
  assert.is(moment("--since", "10m", Date.parse("2026-01-01T01:00:00Z")), "2026-01-01T00:50:00.000Z");
  assert.is(moment("--since", "2026-01-01T00:00:00+01:00"), "2025-12-31T23:00:00.000Z");
  refused(() => moment("--since", "yesterday-ish"));
});

test("a git remote names the app", () => {
  assert.is(remoteUrl("https://10.77.0.1:7777", "hello"), "https://10.77.0.1:7777/git/hello.git");
  assert.is(appOfUrl(`${remoteUrl("https://10.77.0.1:7777", "hello")}\n`), "hello");
  assert.is(appOfUrl("https://example.com/somebody/Thing"), undefined);
});

test("DOCKER_HOST is honoured when it is a unix socket, and refused when it is not", () => {
  assert.is(socketOf({}), "/var/run/docker.sock");
  assert.is(socketOf({ DOCKER_HOST: "unix:///run/x.sock" }), "/run/x.sock");
  refused(() => socketOf({ DOCKER_HOST: "tcp://10.0.0.1:2375" }));
});

test("a log line has the form that people and parsers know", () => {
  const line = {
    at: "2016-07-26T13:32:05.987763Z",
    app: "hello",
    process: "web",
    jobId: "flynn-db0440f7",
    stream: "stdout" as const,
    source: "app" as const,
    line: "listening on \x1b[31m8080\x1b[0m",
  };
  const raw = { plainText: false, colour: false };
  assert.is(logLine(line, raw), `2016-07-26T13:32:05.987763Z app[web.flynn-db0440f7]: ${line.line}`);
  assert.is(
    logLine(line, { ...raw, plainText: true }),
    "2016-07-26T13:32:05.987763Z app[web.flynn-db0440f7]: listening on 8080",
  );
  assert.match(logLine({ ...line, source: "system" }, raw), "flynn[web.flynn-db0440f7]:");
  assert.match(logLine(line, { plainText: true, colour: true }), /^\x1b\[3\dm2016/);
  assert.is(logLine(line, { ...raw, raw: true }), line.line);
  assert.match(logLine({ ...line, source: "router" }, raw), "Z flynn[router]: listening");
  assert.match(logLine({ ...line, source: "deploy", process: undefined, jobId: undefined }, raw), "Z flynn[deploy]: ");
  const hostile = { ...line, line: "a\x1b]0;title\x07\x1b[2Jb\x9b31m\0\r\x08c" };
  const shown = logLine(hostile, { plainText: true, colour: false });
  assert.not.match(shown, /[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
  assert.match(logLine(hostile, raw), "\x1b]0;title\x07");
});

test.run();
