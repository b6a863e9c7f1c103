// One piece of work per key, however many ask for it. It is cancelled only when the last who waits for it has given up.
interface Flight<T> {
  promise: Promise<T>;
  waiting: number;
  controller: AbortController;
}

export function singleflight<T>(work: (key: string, signal: AbortSignal) => Promise<T>) {
  const flights = new Map<string, Flight<T>>();
  return async (key: string, signal: AbortSignal): Promise<T> => {
    signal.throwIfAborted();
    let flight = flights.get(key);
    if (flight === undefined) {
      const controller = new AbortController();
      const promise = work(key, controller.signal).finally(() => {
        if (flights.get(key)?.controller === controller) flights.delete(key);
      });
      flight = { promise, waiting: 0, controller };
      flights.set(key, flight);
    }
    const { promise, controller } = flight;
    flight.waiting++;
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    promise.catch(() => undefined); // every waiter may have left before it fails
    try {
      return await Promise.race([promise, left]);
    } finally {
      signal.removeEventListener("abort", leave);
      if (--flight.waiting === 0 && flights.get(key) === flight) {
        flights.delete(key);
        controller.abort(new Error(`nobody waits for ${key} any more`));
      }
    }
  };
}

/** At most `limit` at once; the rest wait in line, and leave it when their signal aborts. */
export function limiter(limit: number) {
  let running = 0;
  const line: (() => void)[] = [];
  return async <T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> => {
    while (running >= limit && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      line.push(resolve);
      const leave = () => resolve();
      signal.addEventListener("abort", leave, { once: true });
      await promise;
      signal.removeEventListener("abort", leave);
      // One who leaves must not stay in line: the next turn would be given to nobody.
      const at = line.indexOf(resolve);
      if (at >= 0) line.splice(at, 1);
    }
    if (signal.aborted) {
      // It may have been given the turn it no longer wants.
      if (running < limit) line.shift()?.();
      throw signal.reason;
    }
    running++;
    try {
      return await work();
    } finally {
      running--;
      line.shift()?.();
    }
  };
}
