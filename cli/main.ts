// The `flynn` command: the process's own streams, signals and exit code around runCli.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { text } from "node:stream/consumers";
import { run } from "#lib/run.ts";
import { isPacked } from "./clone/tree.ts";
import { commands } from "./commands.ts";
import { ask } from "./output/ask.ts";
import { runCli } from "./run-cli.ts";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0); // the reader has what it wanted: `flynn log | head`
});

run(async (signal) => {
  const asking = (question: string, secret: boolean): Promise<string> =>
    ask(question, {
      input: process.stdin,
      output: process.stderr,
      signal,
      interrupt: () => void process.emit("SIGINT", "SIGINT"),
      secret,
    });
  const code = await runCli(process.argv.slice(2), {
    commands,
    packed: isPacked,
    env: process.env,
    cwd: process.cwd(),
    signal,
    terminal: {
      in: process.stdin.isTTY === true,
      out: process.stdout.isTTY === true,
      err: process.stderr.isTTY === true,
      columns: process.stdout.columns || 0,
      errColumns: process.stderr.columns || 0,
    },
    writeOut: (written) => void process.stdout.write(written),
    writeErr: (written) => void process.stderr.write(written),
    ask: (question) => asking(question, false),
    askSecret: (question) => asking(question, true),
    readStdin: () => text(process.stdin),
    streams: {
      input: process.stdin,
      output: process.stdout,
      error: process.stderr,
      setRaw(on) {
        process.stdin.setRawMode?.(on);
        // Node's raw mode still makes \r\n of each \n, which moves the cursor of every full-screen program.
        if (on && process.platform !== "win32")
          spawnSync("stty", ["-opost"], { stdio: ["inherit", "ignore", "ignore"], timeout: 2_000 });
      },
      size() {
        const { columns, rows } = process.stdout;
        return columns > 0 && rows > 0 ? { columns, rows } : undefined;
      },
      onResize(listener) {
        process.stdout.on("resize", listener);
        return () => process.stdout.off("resize", listener);
      },
    },
  });
  // Watching that was interrupted ends well and still says so: 130, not 0.
  return code === 0 && signal.aborted ? undefined : code;
});
