// What is wanted, on disk: target, assignment and certificates before anybody counts on them; the text HAProxy reads at its next start
// or reload at once while it is short, otherwise in a quiet moment, and always before one.
import type { RouterTarget } from "#api/router-agents.ts";
import type { Assignment, Backend } from "./assignment.ts";
import type { CertificateFiles } from "./certificates.ts";
import type { Haproxy } from "./haproxy.ts";
import type { Keeper } from "./kept.ts";
import type { Maps } from "./maps.ts";
import { rendering } from "./render.ts";
import type { RenderOptions } from "./render-options.ts";
import { inSlices } from "./slices.ts";

/** With more, writing is put off. */
const BACKENDS_AT_ONCE = 1_024;
/** After a change, before what was put off is written. */
const QUIET_MS = 1_000;

interface Wanted {
  assignment: Assignment;
  maps: Maps;
  certificates: CertificateFiles;
}

export interface Disk {
  /** What a start of this program needs. */
  keep(target: RouterTarget, wanted: Wanted): Promise<void>;
  /** That, and what a start or a reload of HAProxy needs. */
  keepAll(target: RouterTarget, wanted: Wanted): Promise<void>;
  /** Milliseconds until what was put off is written; undefined when nothing is. */
  dueMs(): number | undefined;
  writeDue(): Promise<void>;
}

export function createDisk(haproxy: Haproxy, keeper: Keeper, options: RenderOptions): Disk {
  const lines = new WeakMap<Backend, string>();
  let written: Wanted | undefined;
  let due: { wanted: Wanted; sinceMs: number } | undefined;

  const write = async (wanted: Wanted): Promise<void> => {
    const isSame =
      written?.assignment === wanted.assignment &&
      written.maps === wanted.maps &&
      written.certificates === wanted.certificates;
    due = undefined;
    if (isSame) return;
    await haproxy.write(await inSlices(rendering(wanted, options, lines)));
    written = wanted;
  };
  const keep = async (target: RouterTarget, wanted: Wanted): Promise<void> => {
    await haproxy.certificates.write(wanted.certificates);
    await keeper.keep(target, wanted.assignment);
  };

  return {
    async keep(target, wanted) {
      await keep(target, wanted);
      if (wanted.assignment.backends.length <= BACKENDS_AT_ONCE) await write(wanted);
      else due = { wanted, sinceMs: performance.now() };
    },
    async keepAll(target, wanted) {
      await keep(target, wanted);
      await write(wanted);
    },
    dueMs: () => due && Math.max(0, due.sinceMs + QUIET_MS - performance.now()),
    async writeDue() {
      if (due !== undefined) await write(due.wanted);
    },
  };
}
