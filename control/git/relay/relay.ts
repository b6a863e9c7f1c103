// A hand of control's where git and sshd start a program: says over control's socket what it was started for, sends its
// stdin there, writes what comes back, and exits as control says. It decides nothing. Started as
//   relay.ts SOCKET hook PUSH         by git, as pre-receive
//   relay.ts SOCKET take PUSH         by git, as proc-receive
//   relay.ts SOCKET ssh KEY           by sshd, as a key's forced command
//   relay.ts SOCKET keys FINGERPRINT  by sshd, as AuthorizedKeysCommand
import { connect } from "node:net";
import process from "node:process";
import { frameReader, KIND } from "./frames.ts";

const LOST: Record<string, string> = {
  hook: " !     control went away; push again in a moment.\n",
  take: " !     control went away. A build that has begun goes on; push again to see how it ended.\n",
  ssh: "flynn: the cluster's control does not answer; try again in a moment\n",
  keys: "control does not answer\n",
};

const [path = "", ask = "", given = ""] = process.argv.slice(2);
const { env } = process;
const opening = {
  hook: { ask, push: given, quarantine: env["GIT_QUARANTINE_PATH"] ?? "" },
  take: { ask, push: given },
  ssh: { ask, key: given, command: env["SSH_ORIGINAL_COMMAND"] ?? "", protocol: env["GIT_PROTOCOL"] ?? "" },
  keys: { ask, fingerprint: given },
}[ask];
if (opening === undefined) throw new Error(`asked for ${ask}`);

const socket = connect({ path, allowHalfOpen: true });
let exitCode: number | undefined;
const frames = frameReader();

socket.write(`${JSON.stringify(opening)}\n`);
if (ask === "keys") socket.end();
else process.stdin.on("error", () => socket.destroy()).pipe(socket);

socket.on("data", (chunk) => {
  for (const { kind, payload } of frames(chunk)) {
    if (kind === KIND.exit) {
      exitCode = payload[0] ?? 1;
      socket.destroy(); // what the other side still sends is not read by anyone
    } else {
      const out = kind === KIND.stdout ? process.stdout : process.stderr;
      if (out.write(payload)) continue;
      socket.pause();
      out.once("drain", () => socket.resume());
    }
  }
});
socket.on("error", () => undefined); // told below: without an exit code the answer is no
socket.on("close", () => {
  if (exitCode === undefined) process.stderr.write(LOST[ask]!);
  process.exitCode = exitCode ?? 1;
  process.stdin.destroy();
});
for (const out of [process.stdout, process.stderr]) out.on("error", () => socket.destroy());
