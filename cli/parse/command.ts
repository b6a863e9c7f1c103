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
  offers?: Offer;
}
export type Offer = "apps" | "machines" | "hosts" | "clusters" | "images" | "shells" | "files";

export interface Command {
  /** Words, such as `route add http`. `route:add:http` works too. */
  words: string;
  summary: string;
  args?: readonly Argument[];
  flags?: readonly Flag[];
  /** What the words after `--` are, for commands that take them. */
  tail?: string;
  /** The tail begins with the first word after its own arguments; `--` before it is taken too. */
  tailBare?: boolean;
  /** Says more than the summary, with examples. */
  more?: string;
  hidden?: boolean;
  /** Runs programs of the tree that the CLI lies in: the packed CLI refuses it and says where it runs. */
  needsClone?: boolean;
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
  cwd: string;
  signal: AbortSignal;
  json: boolean;
  terminal: Terminal;
  /** Colours, per stream: on terminals only, NO_COLOR and --no-color honoured. */
  colour: { out: boolean; err: boolean };
  commands: readonly Command[];
  /** A line on stdout: the answer. */
  print(line: string): void;
  /** A line on stderr: progress and notes. */
  say(line: string): void;
  /** Raw text on stderr, for a line that is drawn over. */
  draw(text: string): void;
  /** Asks on the terminal and gives the line typed. */
  ask(question: string): Promise<string>;
  /** The same, and what is typed is not shown. */
  askSecret(question: string): Promise<string>;
  /** All of stdin. */
  readStdin(): Promise<string>;
  streams: SessionStreams;
}

/** The process's own streams, for sessions: bytes both ways, and the terminal they may be. */
export interface SessionStreams {
  input: NodeJS.ReadableStream;
  output: NodeJS.WritableStream;
  error: NodeJS.WritableStream;
  /** What is typed goes through as it is, Ctrl-C too. */
  setRaw(on: boolean): void;
  /** Undefined when stdout is no terminal, or one that does not know. */
  size(): { columns: number; rows: number } | undefined;
  /** Returns the way to stop. */
  onResize(listener: () => void): () => void;
}

/** Which streams are terminals, and how wide (0: not known, as on serial consoles). */
export interface Terminal {
  in: boolean;
  out: boolean;
  err: boolean;
  columns: number;
  errColumns: number;
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
