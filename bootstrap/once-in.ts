// What is told once in a while, and what is counted in a while: firmware repeats itself.
const MAX_REMEMBERED = 16_384;

export function onceIn(ms: number, nowMs: () => number = () => performance.now()): (what: string) => boolean {
  const last = new Map<string, number>();
  return (what) => {
    const now = nowMs();
    const before = last.get(what);
    last.delete(what);
    last.set(what, before !== undefined && now - before < ms ? before : now);
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    return before === undefined || now - before >= ms;
  };
}

/** How often this was so, with no more than this time between one and the next. */
export function countIn(ms: number, nowMs: () => number = () => performance.now()): (what: string) => number {
  const last = new Map<string, { times: number; atMs: number }>();
  return (what) => {
    const now = nowMs();
    const before = last.get(what);
    const times = before !== undefined && now - before.atMs < ms ? before.times + 1 : 1;
    last.delete(what);
    last.set(what, { times, atMs: now });
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    return times;
  };
}
