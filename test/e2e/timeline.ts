// The one timeline, as a table: when after power-on, how long since the step before, what happened.

export interface Row {
  /** Seconds after power-on. */
  seconds: number;
  stage: string;
  words: string;
}

export function timelineTable(rows: readonly Row[]): string {
  const width = Math.max(5, ...rows.map(({ stage }) => stage.length));
  const head = `${"after".padStart(8)}  ${"step".padStart(7)}  ${"stage".padEnd(width)}  what`;
  const lines = rows.map(({ seconds, stage, words }, n) => {
    const step = n === 0 ? 0 : seconds - rows[n - 1]!.seconds;
    return `${seconds.toFixed(1).padStart(7)}s  ${`+${step.toFixed(1)}`.padStart(7)}  ${stage.padEnd(width)}  ${words}`;
  });
  return [head, "-".repeat(head.length), ...lines].join("\n");
}
