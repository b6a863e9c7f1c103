// What to do about the two copies as they were found: a rule, so that every combination is one line of a test table.
// LevelDB and the journal are both synced before a commit is acknowledged, so a crash leaves them at most one group
// apart, with at most the journal's last frame torn. Anything else is damage to one copy, healed from the other only
// when the other one proves to reach every record either of them speaks of; otherwise the answer is `refuse`.

export interface LevelFound {
  state: "absent" | "sound" | "damaged";
  /** What is wrong, for people. */
  reason?: string;
  id?: string;
  /** Seq its head row names, also when damaged; undefined when that row itself cannot be trusted. */
  headSeq?: number;
  /** Term that its head row names. */
  term?: number;
  oldestSeq: number;
  /** Chain hash at the journal's head, or at its own head when the journal is longer; undefined when not kept. */
  meetingHash?: string;
  /** When damaged: seq up to which its rows go on from the journal's head in one chain. */
  salvageableSeq?: number;
}

export interface JournalFound {
  state: "absent" | "clean" | "torn" | "damaged";
  id?: string;
  firstSeq: number;
  headSeq: number;
  lastFrameSeq: number;
  claimedSeq: number;
  /** Chain hash at the seq where the two copies should meet. */
  meetingHash?: string;
}

export interface Decision {
  /**
   * `forward` LevelDB from the journal; `catch-up` the journal from LevelDB; `reseed` a new snapshot and journal from LevelDB;
   * `rebuild` LevelDB from snapshot and journal.
   */
  act: "create" | "use" | "forward" | "catch-up" | "reseed" | "rebuild" | "refuse";
  outcome: "created" | "clean" | "rolled-forward" | "recovered";
  findings: string[];
}

/** The most records one group holds: the most by which a crash leaves one copy behind. */
export const MAX_GROUP_RECORDS = 4096;

export function decide(level: LevelFound, journal: JournalFound, salvage = false): Decision {
  if (level.state === "absent" && journal.state === "absent")
    return { act: "create", outcome: "created", findings: [] };
  const decision = level.state === "sound" ? soundLevel(level, journal) : brokenLevel(level, journal);
  if (decision.act !== "refuse" || !salvage) return decision;
  const forward = level.state === "sound" && level.headSeq! >= journal.headSeq ? "reseed" : "rebuild";
  return {
    act: forward,
    outcome: "recovered",
    findings: [...decision.findings, "went on with what is left, as asked"],
  };
}

function soundLevel(level: LevelFound, journal: JournalFound): Decision {
  const headSeq = level.headSeq!;
  const unmade = journal.state === "absent" || (journal.state === "torn" && journal.id === undefined);
  if (headSeq === 0 && unmade) return { act: "reseed", outcome: "created", findings: [] };
  if (journal.state === "absent") {
    return healed("reseed", `the journal is missing; LevelDB verifies up to record ${headSeq}`);
  }
  const ragged = journal.state === "clean" ? [] : [`the journal is ${journal.state} after record ${journal.headSeq}`];
  if (journal.id === undefined) {
    // Not even its header can be read.
    if (journal.state === "damaged" && journal.claimedSeq > headSeq) return lost(ragged, journal.claimedSeq, headSeq);
    return healed("reseed", ...ragged, `LevelDB verifies up to record ${headSeq}`);
  }
  if (journal.id !== level.id) return refuse("the journal belongs to another log than LevelDB");
  const met =
    level.meetingHash === undefined || journal.meetingHash === undefined || level.meetingHash === journal.meetingHash;
  if (!met)
    return refuse(
      `LevelDB and the journal hold different histories up to record ${Math.min(headSeq, journal.headSeq)}`,
    );
  if (headSeq < journal.headSeq) {
    const behind = `LevelDB ends at record ${headSeq}, the journal at ${journal.headSeq}`;
    if (journal.state !== "clean") return lost([behind, ...ragged], journal.headSeq + 1, journal.headSeq);
    if (journal.firstSeq > headSeq + 1) return healed("rebuild", behind);
    if (journal.lastFrameSeq === headSeq + 1) return { act: "forward", outcome: "rolled-forward", findings: [behind] };
    return healed("forward", `${behind}: LevelDB lost acknowledged records`);
  }
  if (journal.state === "damaged") {
    if (journal.claimedSeq > headSeq) return lost(ragged, journal.claimedSeq, headSeq);
    return healed("reseed", ...ragged, `LevelDB verifies up to record ${headSeq}`);
  }
  const missing = headSeq - journal.headSeq;
  if (missing === 0 && journal.state === "clean") return { act: "use", outcome: "clean", findings: [] };
  const findings = [
    ...ragged,
    ...(missing > 0 ? [`the journal ends at record ${journal.headSeq}, LevelDB at ${headSeq}`] : []),
  ];
  if (level.oldestSeq > journal.headSeq + 1) return healed("reseed", ...findings);
  const lostFrames =
    missing > MAX_GROUP_RECORDS || (journal.claimedSeq > journal.headSeq && journal.claimedSeq < headSeq);
  return { act: "catch-up", outcome: lostFrames ? "recovered" : "rolled-forward", findings };
}

function brokenLevel(level: LevelFound, journal: JournalFound): Decision {
  const reason = level.state === "absent" ? "LevelDB's directory is missing" : `LevelDB: ${level.reason}`;
  if (journal.state === "absent") return refuse(reason, "there is no journal to recover from");
  if (journal.id === undefined) return refuse(reason, "the journal's header cannot be read");
  if (level.id !== undefined && level.id !== journal.id)
    return refuse(reason, "the journal belongs to another log than LevelDB");
  const reach = Math.max(journal.headSeq, level.salvageableSeq ?? 0);
  const said = level.headSeq;
  if (said !== undefined && said > reach) return lost([reason], said, reach);
  if (journal.state === "damaged" && journal.claimedSeq > reach)
    return lost([reason, "the journal is damaged"], journal.claimedSeq, reach);
  // A torn last frame was never acknowledged if LevelDB, which had to have it too, does not speak of it.
  if (journal.state !== "clean" && said === undefined)
    return refuse(reason, `the journal is ${journal.state} after record ${journal.headSeq}`);
  return healed("rebuild", reason, `snapshot and journal reach record ${reach}`);
}

function healed(act: Decision["act"], ...findings: string[]): Decision {
  return { act, outcome: "recovered", findings };
}

function refuse(...findings: string[]): Decision {
  return { act: "refuse", outcome: "recovered", findings };
}

function lost(findings: string[], needSeq: number, haveSeq: number): Decision {
  return refuse(
    ...findings,
    `record ${needSeq} was written and can be read from neither copy; what verifies ends at record ${haveSeq}`,
  );
}
