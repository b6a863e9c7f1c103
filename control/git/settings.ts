// The one git configuration that counts for repositories here: ours, in place of the user's and the system's. A repository's
// own config is written by `git init` and never by a client.
import { LIMITS } from "./limits.ts";

export interface GitSettings {
  hooksDir: string;
  /** Largest pack that a push may send. */
  packBytes: number;
}

/** Faults of old programs that history is full of and that harm nobody here: what is built is read from an archive, and held to rules then. */
const HARMLESS_FAULTS = [
  ...["zeroPaddedFilemode", "badTimezone", "missingSpaceBeforeDate", "badDate"],
  ...["missingSpaceBeforeEmail", "missingNameBeforeEmail", "duplicateEntries"],
];
/** Packing locks refs for a moment. */
const LOCK_WAIT_MS = 3_000;

export function gitConfigText({ hooksDir, packBytes }: GitSettings): string {
  const sections: [string, [string, string | number | boolean][]][] = [
    [
      "core",
      [
        ["hooksPath", hooksDir],
        ["fsync", "committed,loose-object,reference"],
        ["bigFileThreshold", "16m"],
        ["packedGitWindowSize", "64m"],
        ["packedGitLimit", "512m"],
        // A ref's log is written after everything else was, and a full disk would refuse the push then. Builds say what was pushed.
        ["logAllRefUpdates", false],
        ["filesRefLockTimeout", LOCK_WAIT_MS],
      ],
    ],
    ["safe", [["directory", "*"]]],
    ["protocol", [["allow", "never"]]],
    ['protocol "ext"', [["allow", "never"]]],
    [
      "http",
      [
        ["getanyfile", false],
        ["uploadpack", true],
        ["receivepack", true],
        ["maxRequestBuffer", LIMITS.requestBytes],
      ],
    ],
    [
      "transfer",
      [
        ["fsckObjects", true],
        // A push's pack is kept as it came: to unpack a large file is to compress it a second time. gc joins packs.
        ["unpackLimit", 1],
      ],
    ],
    [
      "receive",
      [
        ["fsckObjects", true],
        ["maxInputSize", packBytes],
        ["autogc", false],
        ["keepAlive", 5],
        ["denyDeletes", false],
        // Every ref is moved by control, through the proc-receive hook.
        ["procReceiveRefs", "refs"],
        ["advertisePushOptions", false],
      ],
    ],
    ['receive "fsck"', HARMLESS_FAULTS.map((id) => [id, "warn"])],
    [
      "pack",
      [
        ["threads", 1],
        ["windowMemory", "128m"],
      ],
    ],
    [
      "gc",
      [
        ["autoDetach", false],
        ["auto", 2_000],
      ],
    ],
    ["maintenance", [["auto", false]]],
  ];
  return sections
    .map(([name, entries]) => `[${name}]\n${entries.map(([key, value]) => `\t${key} = ${quoted(value)}\n`).join("")}`)
    .join("");
}

/** A value as git-config(1) reads it back unchanged. */
const quoted = (value: string | number | boolean): string =>
  `"${String(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
