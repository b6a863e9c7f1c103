// What a command is: one value says its words, arguments, flags and what it does. Help, completion, docs and parsing follow.

export interface Flag {
  name: string;
  short?: string;
  /** Placeholder of its value; absent for a switch. */
  value?: string;
  help: string;
  /** May be given several times. */
  repeat?: boolean;
}

export interface Argument {
  name: string;
  required?: boolean;
  /** Takes all that is left. */
  rest?: boolean;
  /** What completion offers. */
  offers?: "apps" | "machines" | "hosts" | "clusters" | "shells";
}

export interface Command {
  /** Words, such as `route add http`. `route:add:http` works too. */
  words: string;
  summary: string;
  args?: readonly Argument[];
  flags?: readonly Flag[];
  /** Says more than the summary, with examples. */
  more?: string;
  hidden?: boolean;
  run: (call: Invocation) => Promise<number | undefined> | Promise<void>;
}

export interface Invocation {
  args: string[];
  /** What stood after `--`. */
  tail: string[];
  text(flag: string): string | undefined;
  texts(flag: string): string[];
  on(flag: string): boolean;
  cli: Cli;
}

/** What commands are given to work with. */
export interface Cli {
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  json: boolean;
  terminal: { out: boolean; err: boolean; columns: number };
  commands: readonly Command[];
  /** A line on stdout: the answer. */
  print(line: string): void;
  /** A line on stderr: progress and notes. */
  say(line: string): void;
  /** Raw text on stdout. */
  write(text: string): void;
}

export const GLOBAL_FLAGS: readonly Flag[] = [
  { name: "app", short: "a", value: "APP", help: "App to act on (or FLYNN_APP, or the git remote `flynn`)" },
  {
    name: "cluster",
    short: "c",
    value: "NAME",
    help: "Cluster to talk to (or FLYNN_CLUSTER); default: the default one",
  },
  { name: "json", help: "Answer as JSON on stdout, nothing else there" },
  { name: "no-color", help: "No colours (NO_COLOR works too)" },
  { name: "help", short: "h", help: "What the command does" },
];
