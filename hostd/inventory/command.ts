// `hostd inventory`: what the image runs on a machine that nobody approved yet. It holds no secret, writes no disk and opens no port: it
// says what the machine is made of, shows six words on every console, and asks until a person has decided.

import { appendFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { readStart } from "#lib/read-start.ts";
import { sleep } from "#lib/time.ts";
import { type Act, actOf, consoleLines, inventoryBoot, signerOf, type Told, toldBy } from "./agent.ts";
import { collect, readIdentity } from "./collect.ts";
import { textOf } from "./sysfs.ts";

export interface InventoryCommandOptions {
  signal: AbortSignal;
  proc?: string;
  sys?: string;
  dev?: string;
  /** Ends this boot. */
  end?: (how: "reboot" | "poweroff") => Promise<void>;
  askMs?: number;
  /** So long the last words stand before the boot ends. */
  farewellMs?: number;
}

const ASK_MS = 5_000;
const SHOW_EVERY_MS = 60_000;
/** Switches speak every 30 s; what is there by then is in the second report. */
const READ_AGAIN_MS = [45_000, 10 * 60_000] as const;
const ANSWER_MOST_BYTES = 4096;
const ANSWER_MS = 10_000;
const FAREWELL_MS = 5_000;

export async function inventoryCommand(options: InventoryCommandOptions): Promise<number> {
  const {
    signal,
    proc = "/proc",
    sys = "/sys",
    dev = "/dev",
    end = endBoot,
    askMs = ASK_MS,
    farewellMs = FAREWELL_MS,
  } = options;
  const boot = inventoryBoot(await readStart(join(proc, "cmdline"), 8192));
  if (boot === undefined) {
    process.stderr.write(
      "hostd inventory: this boot is none for an inventory (no flynn.inventory=http://... on the kernel's command line)\n",
    );
    return 2;
  }
  const { url, mac, ordered } = boot;
  const say = (...lines: string[]) => onConsoles({ sys, dev }, lines);
  const identity = await readIdentity(mac, sys);
  if (identity === undefined) {
    await say("Flynn: no network card was found, so nobody can be told");
    return 1;
  }
  const signer = signerOf(identity);
  const shown = ordered
    ? ["", "Flynn: a person asked what this machine is made of; once it has said so it restarts and boots as before"]
    : consoleLines(identity, signer.words);
  await say(...shown, "Flynn: reading what this machine is made of; nothing is written");
  const read = () => collect({ identity, sys, proc, signal });
  let report = await read();
  const startedMs = performance.now();
  let [shownMs, refusals, reads, news, last] = [startedMs, 0, 0, true, ""];

  while (!signal.aborted) {
    if (performance.now() - shownMs >= SHOW_EVERY_MS) {
      shownMs = performance.now();
      await say(...shown);
    }
    const dueMs = READ_AGAIN_MS[0] + reads * READ_AGAIN_MS[1];
    if (performance.now() - startedMs >= dueMs) {
      reads++;
      const again = await read();
      news ||= JSON.stringify(again) !== JSON.stringify(report);
      report = again;
    }
    let told = await ask(url, signal);
    let act: Act = actOf(told, { claim: signer.claim, refusals });
    if (act === "report" || (act === "wait" && news && told.state === "waiting")) {
      told = await ask(url, signal, JSON.stringify(signer.sign(report)));
      act = actOf(told, { claim: signer.claim, refusals });
      if (told.state === "waiting") news = false;
    }
    refusals = told.state === "no" ? refusals + 1 : 0;
    if (told.state !== last && (told.state === "no" || told.state === "silent"))
      await say(
        `Flynn: the boot server ${told.state === "no" ? "refuses this machine's word" : "does not answer"}; it is asked again`,
      );
    last = told.state;
    if (act === "restart" || act === "power-off") {
      await say(ordered && told.state === "approved" ? FAREWELL_ORDERED : (FAREWELLS[told.state] ?? FAREWELLS["no"]!));
      await sleep(farewellMs, signal);
      await end(act === "restart" ? "reboot" : "poweroff");
      return 0;
    }
    await sleep(askMs * (0.8 + Math.random() * 0.4), signal);
  }
  return 0;
}

const FAREWELLS: Partial<Record<Told["state"], string>> = {
  approved: "Flynn: approved. The machine restarts and boots as a host.",
  rejected:
    "Flynn: a person rejected this machine. It switches off; switched on again it goes on with its own boot order.",
  no: "Flynn: the boot server does not know this boot any more. The machine restarts and asks anew.",
};

const FAREWELL_ORDERED = "Flynn: it was told. The machine restarts and boots as before.";

async function endBoot(how: "reboot" | "poweroff"): Promise<void> {
  await exec(["systemctl", how], { timeoutMs: 60_000 });
}

/** One question, or one report; a boot server that does not answer is silence. */
function ask(url: string, signal: AbortSignal, body?: string): Promise<Told> {
  return new Promise((resolve) => {
    const silent = () => resolve({ state: "silent" });
    const headers =
      body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const method = body === undefined ? "GET" : "POST";
    const asked = request(url, { method, headers, agent: false, signal, timeout: ANSWER_MS }, (answer) => {
      const chunks: Buffer[] = [];
      let size = 0;
      answer.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > ANSWER_MOST_BYTES) answer.destroy();
        else chunks.push(chunk);
      });
      answer.on("end", () => resolve(toldBy(answer.statusCode ?? 0, Buffer.concat(chunks).toString("utf8"))));
      answer.on("error", silent);
      answer.on("close", silent);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", silent);
    asked.end(body);
  });
}

/** /dev/console is one of them: the others (a screen beside a serial line) are written to as well. */
async function onConsoles({ sys, dev }: { sys: string; dev: string }, lines: readonly string[]): Promise<void> {
  const active = await textOf(join(sys, "class/tty/console/active"));
  const names = (active ?? "console").split(/\s+/).filter((name) => /^[a-zA-Z0-9]{1,16}$/.test(name));
  const text = lines.map((line) => `${line}\r\n`).join("");
  // A console that is not there (a serial line that the board does not have) is no reason to wait.
  await Promise.allSettled(names.map((name) => appendFile(join(dev, name), text)));
}
