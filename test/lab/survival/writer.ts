// Makes apps through the API as fast as it answers, four at a time, and notes each name once its creation was acknowledged.
import { appendFileSync, readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { sleep } from "#lib/time.ts";

const { address, caFile, token, file } = JSON.parse(process.argv[2] ?? "{}") as Record<string, string>;
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());
const agent = new Agent({ keepAlive: true, ca: readFileSync(caFile!), servername: "control.flynn.internal" });
let made = 0;
console.log("started");

async function write(): Promise<void> {
  while (!stopping.signal.aborted) {
    const name = `w-${++made}`;
    const status = await create(name);
    if (status === 201) appendFileSync(file!, `${name}\n`);
    else await sleep(50, stopping.signal);
    await sleep(20, stopping.signal);
  }
}

/** 0 when there was no answer: nothing was promised then. */
function create(name: string): Promise<number> {
  return new Promise((resolve) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const options = { host: address, port: 7777, path: "/v1/apps", method: "POST", agent, headers, timeout: 5_000 };
    const asked = request(options, (answer) => {
      answer.on("error", () => resolve(0));
      answer.on("end", () => resolve(answer.statusCode ?? 0));
      answer.resume();
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(0));
    asked.end(JSON.stringify({ name }));
  });
}

await Promise.all([write(), write(), write(), write()]);
agent.destroy();
