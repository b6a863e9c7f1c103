// quarantine: what hosts run and a restored state does not know.
import { decideQuarantine } from "#api/quarantine.ts";
import { withCluster } from "../clusters/connect.ts";
import { answer } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import type { Command } from "../parse/command.ts";

const decide = (decision: "keep" | "end", summary: string): Command => ({
  words: `quarantine ${decision}`,
  summary,
  ...(decision === "end" ? { flags: CONFIRM_FLAGS } : {}),
  more: "After a restore, containers that the restored state does not know run on for ten minutes: `flynn alerts` names them",
  run: (call) =>
    withCluster(call, async (client) => {
      if (decision === "end")
        await confirm(call, "quarantined", "containers that the restored state does not know are ended on every host.");
      const decided = await client.call(decideQuarantine, { body: { decision }, signal: call.cli.signal });
      answer(call.cli, decided, () => {
        call.cli.print(decision === "keep" ? "they run on; end them with: flynn quarantine end" : "they are ended now");
      });
    }),
});

export const quarantineCommands: readonly Command[] = [
  decide("keep", "After a restore: keep containers running that the restored state does not know"),
  decide("end", "After a restore: end containers that the restored state does not know, now"),
];
