// How much of anything a git client may ask for. What is beyond is refused in words.
type LimitName =
  | "packBytes"
  | "commands"
  | "requestBytes"
  | "files"
  | "silentMs"
  | "transferMs"
  | "sessions"
  | "sessionsOfApp"
  | "memoryBytes"
  | "fileBytes";
export type Limits = typeof LIMITS;

export const LIMITS: Readonly<Record<LimitName, number>> = {
  /** A push's pack, as it is sent. */
  packBytes: 2 * 1024 ** 3,
  /** Refs in one push. */
  commands: 1_000,
  /** A fetch's wants and haves. */
  requestBytes: 10 * 1024 ** 2,
  /** Files of the tree that is built. */
  files: 200_000,
  /** Silence of a client that is to send. */
  silentMs: 60_000,
  /** From the first byte of a push to its last, and of a fetch to its end. */
  transferMs: 3_600_000,
  /** git processes that serve clients at once; a waiting push counts. */
  sessions: 64,
  /** Of one app. */
  sessionsOfApp: 16,
  /** Memory of one git process (RLIMIT_DATA), and the largest file it may write. */
  memoryBytes: 2 * 1024 ** 3,
  fileBytes: 4 * 1024 ** 3,
};
