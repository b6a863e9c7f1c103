import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { freePort } from "./free-port.ts";

const module = fileURLToPath(new URL("free-port.ts", import.meta.url));

test("no port is given twice, not to another process and not while its first owner has not listened yet", async () => {
  const script = `import { freePort } from ${JSON.stringify(module)};
    const ports = [];
    for (let n = 0; n < 1500; n++) ports.push(await freePort());
    console.log(JSON.stringify(ports));
    process.stdin.resume();`;
  const argv = ["--input-type=module", "-e", script];
  // Both hold what they have until both have taken: stdin closes then.
  const others = [0, 1].map(() => promisify(execFile)(process.execPath, argv));
  const output = (n: number) =>
    new Promise<string>((resolve) => others[n]!.child.stdout!.once("data", (chunk) => resolve(String(chunk))));
  const taken = await Promise.all([output(0), output(1)]);
  const mine: number[] = [];
  for (let n = 0; n < 300; n++) mine.push(await freePort(n % 2 === 0 ? "tcp" : "udp"));
  for (const { child } of others) child.stdin!.end();
  await Promise.all(others);
  const all = [...taken.flatMap((text) => JSON.parse(text) as number[]), ...mine];
  assert.is(all.length, 3_300);
  assert.is(new Set(all).size, 3_300);
  assert.ok(all.every((port) => port >= 20_000 && port < 32_768));
});

test.run();
