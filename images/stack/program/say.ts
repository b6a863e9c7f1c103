// What a build tells the person who pushed, in the grammar of a push: a step, its details, a warning. Plain UTF-8 lines;
// whatever control characters a name brought along do not get into a line of ours.
import { writeSync } from "node:fs";

export interface Say {
  /** `-----> text` */
  step(text: string): void;
  /** `       text`, each line. */
  detail(text: string): void;
  /** ` !     text`, each line. */
  warn(text: string): void;
}

export function sayTo(fd: number): Say {
  const put = (prefix: string, text: string) => {
    for (const line of text.split("\n")) writeAll(fd, `${prefix}${plain(line)}`.trimEnd() + "\n");
  };
  return {
    step: (text) => put("-----> ", text),
    detail: (text) => put("       ", text),
    warn: (text) => put(" !     ", text),
  };
}

/** Without control characters, which could move a terminal's cursor. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "").replaceAll("\t", " ");
}

/** The stream may be a pipe that is full for the moment; lines must still come in order with the children's. */
function writeAll(fd: number, text: string): void {
  let rest = Buffer.from(text, "utf8");
  const until = performance.now() + 30_000;
  while (rest.length > 0 && performance.now() < until) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
