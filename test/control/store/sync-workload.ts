// What a control plane does to its disk, in small: run as a program under a tracer, it says `ack NAME` on its output whenever somebody could
// rely on what was written so far.
import { writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "#lib/files.ts";
import { silentLog } from "#lib/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { restoreState } from "../../../control/store/restore.ts";

const root = process.argv[2]!;
const directory = join(root, "state", "store");
const ack = (what: string) => void writeSync(1, `ack ${what}\n`);
const open = () => openLevelLog({ directory, logger: silentLog() });

async function append(records: number): Promise<void> {
  const log = await open();
  ack("opened");
  for (let n = 0; n < records; n++) {
    const seq = log.headSeq + 1;
    const mutations = [{ key: `k/${seq}`, value: { seq } }];
    await log.append([{ seq, term: log.term, at: "2026-11-29T00:00:00.000Z", actor: "test", mutations }]);
    ack(`record ${seq}`);
  }
  await log.close();
  ack("closed");
}

await append(3);
await append(3);
await rm(join(directory, "journal"), { recursive: true }); // made anew from LevelDB
await append(1);
await rm(join(directory, "level"), { recursive: true }); // and LevelDB from the rest
await append(1);
await rm(join(directory, "level"), { recursive: true });
await rm(join(directory, "journal"), { recursive: true });
await restoreState({ directory, now: new Date() });
ack("restored");
await append(1);
await writeFileAtomic(join(root, "state", "file.json"), "{}");
ack("file");
