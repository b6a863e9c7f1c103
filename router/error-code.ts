// HAProxy's termination state (configuration manual 8.5) as the error codes that people know from Heroku and search for. Pure.

export interface Ending {
  /** Two letters: who ended it, and in which phase. */
  state: string;
  status: number | undefined;
  /** The request was given to a job. */
  hasJob: boolean;
  /** Jobs of the process that the router knows. */
  jobs: number;
}

const BY_STATE: Readonly<Record<string, readonly [string, string]>> = {
  sH: ["H12", "Request timeout: no response headers within 60 s"],
  SH: ["H13", "Connection closed without response"],
  SD: ["H18", "Server request interrupted"],
  sD: ["H15", "Idle connection: no byte of the response within 60 s, or 1 h of an event stream"],
  sC: ["H19", "Backend connection timeout"],
  SC: ["H21", "Backend connection refused"],
  PH: ["H17", "Poorly formatted HTTP response, or its headers are over 32 KiB"],
  sQ: ["H11", "Backlog too deep"],
  SQ: ["H11", "Backlog too deep"],
  cR: ["H28", "Client connection idle"],
  cH: ["H28", "Client connection idle"],
  cD: ["H28", "Client connection idle"],
  CH: ["H27", "Client request interrupted"],
  CD: ["H27", "Client request interrupted"],
  CC: ["H27", "Client request interrupted"],
  CQ: ["H27", "Client request interrupted"],
  CR: ["H27", "Client request interrupted"],
};

/** Code and words when the request failed on its way; undefined when a job answered it, whatever it answered. */
export function errorCode({ state, status, hasJob, jobs }: Ending): readonly [code: string, words: string] | undefined {
  const phase = state.slice(0, 2);
  if (phase === "LR") return status === 503 ? ["H80", "Maintenance mode"] : undefined;
  if (!hasJob && status === 503 && /^[SsI]/.test(phase))
    return jobs === 0 ? ["H14", "No jobs running"] : ["H10", "App crashed"];
  if (/^[IR]/.test(phase)) return ["H99", "Platform error"];
  return BY_STATE[phase];
}
