// Why an agent is no member yet, in a word that the boot doctor knows, told with the token of its boot.
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { tellsTrouble, troubleOf, troubleUrl } from "../../hostd/join-trouble.ts";

test("the kernel's command line says where; a host that was not booted from here has nobody to tell", () => {
  assert.is(
    troubleUrl("boot=live ds=nocloud-net;s=http://10.77.0.1:7780/s/Ab_-9/ quiet"),
    "http://10.77.0.1:7780/e/Ab_-9/trouble",
  );
  assert.is(troubleUrl("root=/dev/vda1 quiet"), undefined);
});

test("each reason has its word", () => {
  const table: [unknown, string][] = [
    [new Error("join", { cause: new Error("certificate is not yet valid") }), "clock"],
    [new Error("certificate has expired"), "clock"],
    [new Error("self-signed certificate in certificate chain"), "certificate"],
    [new Fault("incompatible", "hostd 0.1 is too old"), "version"],
    [new Fault("unauthenticated", "the join token was used already"), "refused"],
    [new Error("connect ECONNREFUSED 10.77.0.1:7777"), "unreachable"],
  ];
  for (const [error, code] of table) assert.is(troubleOf(error).code, code, String(error));
});

test("it is told once a minute, and a boot server that does not answer harms nothing", async () => {
  const bodies: string[] = [];
  const server = createServer((request, reply) => {
    request.setEncoding("utf8").on("data", (text: string) => bodies.push(`${request.url} ${text}`));
    request.on("end", () => reply.end("ok\n"));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const directory = await mkdtemp(join(tmpdir(), "flynn-trouble-"));
  try {
    const cmdline = join(directory, "cmdline");
    await writeFile(cmdline, `ds=nocloud-net;s=http://127.0.0.1:${port}/s/T/\n`);
    const clock = { ms: 0 };
    const tell = tellsTrouble({ cmdline, nowMs: () => clock.ms });
    await tell(new Error("connect ECONNREFUSED"));
    await tell(new Error("connect ECONNREFUSED"));
    assert.equal(bodies, ["/e/T/trouble unreachable connect ECONNREFUSED"]);
    clock.ms = 60_000;
    await new Promise((resolve) => server.close(resolve));
    await tell(new Error("connect ECONNREFUSED"));
    await tellsTrouble({ cmdline: join(directory, "none") })(new Error("x"));
    assert.is(bodies.length, 1);
  } finally {
    server.close();
    await rm(directory, { recursive: true });
  }
});

test.run();
