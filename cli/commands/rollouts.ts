// rollout: an image given to machines in stages, watched to its end. It lives on the server: a client that goes away changes nothing.
import { type BootImage, listBootImages } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import {
  cancelRollout,
  getRollout,
  hasEnded,
  listRollouts,
  pauseRollout,
  type Rollout,
  type RolloutMachineState,
  type RolloutWish,
  resumeRollout,
  rolloutBootImage,
} from "#api/rollouts.ts";
import { parseDuration } from "#lib/units.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { followToEnd } from "../output/follow-to-end.ts";
import { printFacts, printTable } from "../output/table.ts";
import type { Cli, Command, Flag, Invocation } from "../parse/command.ts";

const ROLLOUT = { name: "ROLLOUT", required: true } as const;
const DETACH: Flag = { name: "detach", help: "Do not wait" };
const STAGE_FLAGS: readonly Flag[] = [
  { name: "stages", value: "LIST", help: "Machines that have it after each stage, such as 1,10%,all" },
  { name: "max-unavailable", value: "N", help: "Machines taken down at a time; default 1" },
  { name: "gate", value: "TIME", help: "How long a stage's machines and jobs have to be well; default 60s" },
  DETACH,
];
/** Control may be restarted under it: so long it may be away. */
const AWAY_MOST_MS = 5 * 60_000;

export const imageRolloutCommand: Command = {
  words: "image rollout",
  summary: "Make an image the one that machines boot next, or give it to them in stages",
  more: "  flynn image rollout ID                      machines boot it when they boot next\n  flynn image rollout ID --stages 1,10%,all   each is drained and booted anew; what fails goes back by itself",
  args: [{ name: "ID", required: true, offers: "images" }],
  flags: STAGE_FLAGS,
  run: (call) => withCluster(call, (client) => rollOut(call, client, call.args[0]!)),
};

export const imageRollbackCommand: Command = {
  words: "image rollback",
  summary: "Call off the rollout that runs; or roll out the image that was current before this one",
  flags: STAGE_FLAGS,
  run: (call) =>
    withCluster(call, async (client) => {
      const { signal } = call.cli;
      const rollouts = await listAll(client, listRollouts, { signal });
      const open = rollouts.find((one) => !hasEnded(one));
      if (open !== undefined) {
        if (open.state !== "going-back")
          await client.call(cancelRollout, { params: { id: open.id }, body: {}, signal });
        return followed(call, client, open.id);
      }
      const current = (await listAll(client, listBootImages, { signal })).find((image: BootImage) => image.current);
      const made = rollouts.find(({ state, subject }) => state === "done" && subject.id === current?.id);
      const from = made?.subject.from;
      if (from === undefined || from === current?.id)
        throw new Fault("not-found", "no image was current before this one; see: flynn image list");
      return rollOut(call, client, from);
    }),
};

export const rolloutCommands: readonly Command[] = [
  {
    words: "rollout list",
    summary: "List rollouts, the newest first",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listRollouts, { signal: call.cli.signal }), {
          titles: ["ID", "IMAGE", "STATE", "STAGE", "MACHINES", "BY", "BEGAN", "STEP"],
          row: (one) => [
            one.id,
            one.subject.id,
            one.state,
            stageText(one),
            countsText(one),
            one.createdBy,
            `${age(one.createdAt)} ago`,
            one.reason || one.step,
          ],
          none: "nothing was rolled out; begin with: flynn image rollout ID --stages 1,10%,all",
        }),
      ),
  },
  {
    words: "rollout show",
    summary: "Show a rollout with its machines; -f follows it to its end",
    args: [ROLLOUT],
    flags: [{ name: "follow", short: "f", help: "Go on until it ends" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        if (call.on("follow")) return followed(call, client, args[0]!);
        const rollout = await client.call(getRollout, { params: { id: args[0]! }, signal: cli.signal });
        return answer(cli, rollout, () => printRollout(cli, rollout));
      }),
  },
  change("rollout pause", "Begin nothing further; what was begun is done", pauseRollout, () => "is paused"),
  change("rollout resume", "Go on with a paused rollout", resumeRollout, () => "goes on"),
  {
    words: "rollout cancel",
    summary: "Go back: machines that were changed boot what they booted before",
    args: [ROLLOUT],
    flags: [DETACH],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const params = { id: args[0]! };
        const rollout = await client.call(cancelRollout, { params, body: {}, signal: cli.signal });
        if (!call.on("detach")) return followed(call, client, rollout.id);
        return answer(cli, rollout, () => cli.print(`Rollout ${rollout.id} goes back.`));
      }),
  },
];

function change(
  words: string,
  summary: string,
  endpoint: typeof pauseRollout | typeof resumeRollout,
  did: (rollout: Rollout) => string,
): Command {
  return {
    words,
    summary,
    args: [ROLLOUT],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const rollout = await client.call(endpoint, { params: { id: args[0]! }, body: {}, signal: cli.signal });
        answer(cli, rollout, () => cli.print(`Rollout ${rollout.id} ${did(rollout)}.`));
      }),
  };
}

async function rollOut(call: Invocation, client: Client, id: string): Promise<void> {
  const { cli } = call;
  const body = wishOf(call);
  const rollout = await client.call(rolloutBootImage, { params: { id }, body, signal: cli.signal });
  if (body.stages === undefined) return answer(cli, rollout, () => cli.print(`Machines boot image ${id} next`));
  if (!call.on("detach")) return followed(call, client, rollout.id);
  return answer(cli, rollout, () =>
    cli.print(`Rollout ${rollout.id} began; watch it: flynn rollout show -f ${rollout.id}`),
  );
}

function wishOf(call: Invocation): RolloutWish {
  const [stages, most, gate] = [call.text("stages"), call.text("max-unavailable"), call.text("gate")];
  const gateMs = gate === undefined ? undefined : parseDuration(gate);
  if (gate !== undefined && gateMs === undefined)
    throw new Fault("invalid", `--gate takes a time such as 60s, not ${gate}`);
  if (most !== undefined && !/^[1-9]\d{0,3}$/.test(most))
    throw new Fault("invalid", `--max-unavailable takes a number from 1, not ${most}`);
  if (stages === undefined && (most ?? gate) !== undefined)
    throw new Fault("invalid", "--max-unavailable and --gate are for stages: --stages 1,10%,all");
  return {
    ...(stages === undefined ? {} : { stages: stages.split(",").map((stage) => stage.trim()) }),
    ...(most === undefined ? {} : { maxUnavailable: Number(most) }),
    ...(gateMs === undefined ? {} : { gateSeconds: Math.round(gateMs / 1_000) }),
  };
}

/** Watches it to its end, which it answers; one that went back is an error, with the reason. */
async function followed(call: Invocation, client: Client, id: string): Promise<void> {
  const { cli } = call;
  const ended = await followToEnd<Rollout, Rollout>({
    cli,
    awayMostMs: AWAY_MOST_MS,
    goesOn: `the rollout goes on there; watch it: flynn rollout show -f ${id}`,
    stream: (how) => client.follow(getRollout, { params: { id }, ...how }),
    each(rollout, shown) {
      shown.step(`${rollout.state}, stage ${stageText(rollout)}, ${countsText(rollout)}: ${rollout.step}`);
      return hasEnded(rollout) ? rollout : undefined;
    },
  });
  answer(cli, ended, () => printRollout(cli, ended));
  if (ended.state === "failed") throw new Fault("unavailable", `rollout ${id} went back: ${ended.reason}`);
}

function printRollout(cli: Cli, rollout: Rollout): void {
  const {
    subject,
    state,
    step,
    reason,
    maxUnavailable,
    gateSeconds,
    createdAt,
    createdBy,
    endedAt,
    machines = [],
  } = rollout;
  printFacts(cli, [
    ["ID", rollout.id],
    ["Image", subject.id],
    ["Before", subject.from],
    ["State", state],
    ["Stage", stageText(rollout)],
    ["Step", step],
    ["Reason", reason],
    ["Taken down at a time", String(maxUnavailable)],
    ["Has to be well for", `${gateSeconds} s`],
    ["Began", `${createdAt} by ${createdBy}`],
    ["Ended", endedAt],
  ]);
  if (machines.length === 0) return;
  cli.print("");
  printTable(
    cli,
    ["STAGE", "MACHINE", "STATE", "SINCE", "REASON"],
    machines.map((one) => [
      rollout.stages[one.stage]?.name ?? String(one.stage),
      one.name,
      one.state,
      `${age(one.since)} ago`,
      one.reason,
    ]),
  );
}

const stageText = ({ stages, stage }: Rollout): string =>
  stages.length === 0 ? "at once" : `${stage + 1}/${stages.length} (${stages[stage]?.name ?? ""})`;

const ORDER: readonly RolloutMachineState[] = [
  "ready",
  "draining",
  "rebooting",
  "waiting",
  "back-draining",
  "back-rebooting",
  "back",
  "skipped",
  "stuck",
];
const countsText = ({ counts }: Rollout): string =>
  ORDER.flatMap((state) => (counts[state] ? `${counts[state]} ${state}` : [])).join(", ") || "no machines";
