// hostd: `run` (default) keeps this machine's containers as control wants them; `disk` prepares the state disk before Docker
// starts (`--later`: beside it, what that had no time for); `inventory` is all that runs on a machine that waits for approval; `explain <jobId>` prints the last plan's decision about a job with its inputs.
import { parseArgs } from "node:util";
import { keepNewSpaceSmall, keepOldSpaceSmall } from "#lib/heap.ts";
import { run } from "#lib/run.ts";
import { loadHostdConfig, SEED_FILE, targetDirOf } from "./config.ts";
import { explain } from "./explain.ts";
import { inventoryCommand } from "./inventory/command.ts";
import { runHostd } from "./program.ts";
import { diskCommand, laterDiskCommand } from "./state-disk/command.ts";

const USAGE = `usage: hostd [run] [--config FILE]
       hostd disk [--seed FILE] [--later]
       hostd inventory
       hostd explain [--config FILE] JOB
`;

keepNewSpaceSmall();
keepOldSpaceSmall();
run(async (signal) => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      config: { type: "string" },
      seed: { type: "string" },
      later: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const [command = "run", jobId, ...more] = positionals;
  const config = () => loadHostdConfig({ file: values.config });
  if (values.help) {
    process.stdout.write(USAGE);
  } else if (command === "run" && jobId === undefined) {
    await runHostd(config(), signal);
  } else if (command === "disk" && jobId === undefined) {
    await (values.later ? laterDiskCommand : diskCommand)({ seedFile: values.seed ?? SEED_FILE, signal });
  } else if (command === "inventory" && jobId === undefined) {
    return await inventoryCommand({ signal });
  } else if (command === "explain" && jobId !== undefined && more.length === 0) {
    const found = config();
    process.stdout.write(await explain({ stateDir: found.stateDir, targetDir: targetDirOf(found), jobId }));
  } else {
    process.stderr.write(USAGE);
    return 2;
  }
  return 0;
});
