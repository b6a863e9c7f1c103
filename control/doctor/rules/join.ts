// Stalls between the seed and `ready`: the boot's token, cloud-init, clock and certificates, the join, the container engine.
import type { Boot } from "../boot.ts";
import { part, type Rule, silence, told } from "../rule.ts";

const CONSOLE = "look at its console for flynn-hostd";

/** Its agent is or was there, and says so itself. */
const past = ({ last }: Boot, ...stages: string[]): boolean => last !== undefined && stages.includes(last.stage);

export const JOIN_RULES: readonly Rule[] = [
  told("token-other-card", ({ message }) => ({
    what: `its seed was asked for by another card or address than its boot: ${message}`,
    todo: "two machines may share an identity, or somebody replays a boot: find the card that is named; a fresh boot has a token of its own",
  })),
  told("token-joined", {
    what: "its seed was asked for again after its host had joined: one boot asks twice",
    todo: "if nobody replays it: switch the machine off and on, which begins a boot with a fresh token",
  }),
  told("token-expired", {
    what: "it took longer than its boot token is good for before it asked for its seed",
    todo: "switch it off and on; if it does so each time, look on its console for what takes a quarter of an hour",
  }),
  told("token-superseded", {
    what: "two boots of this machine run at once, and the older one asks for the seed",
    todo: "look for a second machine with the same card or UUID; a power cycle leaves one boot",
  }),
  told("token-machine-gone", {
    what: "it was rejected or forgotten while it booted",
    todo: "flynn machine list; approve it and switch it off and on",
  }),
  told("cloud-init-failed", (event) => ({
    what: `cloud-init's ${part(event, "name", "module")} failed, and the agent did not join`,
    todo: `look at its profile's cloud-config (flynn profile show) and at its console; ${part(event, "description", "")}`.replace(
      /; $/,
      "",
    ),
  })),
  told("agent-unreachable", ({ message }) => ({
    what: `its agent does not reach control: ${message}`,
    todo: "let TCP 7777 of the appliance through from the machines' network",
  })),
  told("agent-clock", ({ message }) => ({
    what: `its clock is wrong, so that control's certificate is not valid for it: ${message}`,
    todo: "set the machine's clock in its setup, and look at the boot server's own: machines take the time from it",
  })),
  told("agent-certificate", ({ message }) => ({
    what: `its agent does not trust control's certificate: ${message}`,
    todo: "its seed is of another cluster or from before a restore: look for a second appliance on its network, then switch it off and on",
  })),
  told("agent-version", ({ message }) => ({
    what: `its agent and control do not understand each other: ${message}`,
    todo: "build the boot image anew with this version and boot it again: flynn image build, then flynn image rollout",
  })),
  told("agent-refused", ({ message }) => ({
    what: `control refused its agent: ${message}`,
    todo: "switch it off and on: the next boot has a join grant of its own",
  })),
  told("join-withheld", ({ message }) => ({
    what: `its join is withheld, since another live session reports in its name: ${message}`,
    todo: "find out which of the two is your machine, and switch the other one off for half a minute",
  })),
  told("join-waits", {
    what: "its join waits until its former session has been silent long enough",
    todo: "wait half a minute; if it goes on, its former boot still runs somewhere",
  }),
  told("join-replayed", {
    what: "its join grant was used already by somebody else",
    todo: "switch it off and on; if it happens again, somebody copies seeds on its network",
  }),
  told("join-refused", ({ message }) => ({
    what: `control refused its join: ${message}`,
    todo: "switch it off and on: the next boot has a join grant of its own",
  })),
  told("join-tpm", ({ message }, { machine: { name } }) => ({
    what: `it did not show the TPM that ${name} was approved with: ${message}`,
    todo: `a clone: switch it off. A new mainboard, or approved without its TPM: flynn machine forget ${name}, switch it off and on, and approve it by its six words`,
  })),
  {
    id: "agent-incompatible",
    kind: "seen",
    follows: "its host is a member that control refuses for its version",
    find: ({ agentRefusal, last }) =>
      agentRefusal === undefined
        ? undefined
        : {
            what: `control and its agent do not go together: ${agentRefusal}`,
            todo: "boot it with an image of this version: flynn image build, then flynn image rollout",
            seen: last === undefined ? [] : [last],
          },
  },
  {
    id: "engine-down",
    kind: "seen",
    follows: "its agent joined and reports that the container engine does not work",
    find: (boot) =>
      boot.engineReason !== undefined &&
      boot.agentRefusal === undefined &&
      past(boot, "join", "disk", "docker", "seed", "cloud-init")
        ? {
            what: `its agent joined, and its container engine does not start: ${boot.engineReason}`,
            todo: "look at its console for docker; a full or broken state disk is the likeliest",
            seen: [boot.last!],
          }
        : undefined,
  },
  silence("seed-silent", {
    stage: "seed",
    patienceMs: 180_000,
    follows: "a seed given, and nothing of cloud-init or the agent",
    words: { what: "cloud-init got its seed, and neither it nor the agent was heard of since", todo: CONSOLE },
  }),
  silence("cloud-init-silent", {
    stage: "cloud-init",
    patienceMs: 180_000,
    follows: "cloud-init reported, and the agent did not join",
    words: {
      what: "cloud-init ran, and the agent did not join",
      todo: `let TCP 7777 of the appliance through from the machines' network; ${CONSOLE}`,
    },
  }),
  silence("join-silent", {
    stage: "join",
    patienceMs: 120_000,
    follows: "a join, and no report",
    words: {
      what: "its agent joined and was not heard of since",
      todo: "look at its console: it was switched off, lost its link, or flynn-hostd ended",
    },
  }),
  silence("disk-silent", {
    stage: "disk",
    patienceMs: 120_000,
    follows: "its disk set up, and no container engine",
    words: { what: "its disk is set up and the container engine is not up", todo: "look at its console for docker" },
  }),
  silence("docker-silent", {
    stage: "docker",
    patienceMs: 120_000,
    follows: "the container engine up, and not ready",
    words: {
      what: "its container engine is up and it does not report itself ready",
      todo: `flynn host list says what its host lacks; ${CONSOLE}`,
    },
  }),
];
