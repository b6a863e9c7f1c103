import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { silentLog } from "#lib/log.ts";
import { reportLoop } from "../../router/report.ts";

test("reports that follow one another before anything changes leave one listener, not one each; a change is told at once", async () => {
  const stop = new AbortController();
  let { promise, resolve } = Promise.withResolvers<void>();
  let listeners = 0;
  let reports = 0;
  const listened = (): Promise<void> => {
    const counted = promise;
    // biome-ignore lint/suspicious/noThenProperty: it counts who listens
    counted.then = ((...args: Parameters<typeof promise.then>) => {
      listeners++;
      return Promise.prototype.then.apply(counted, args);
    }) as typeof counted.then;
    return counted;
  };
  let current = listened();
  const call = (async () => {
    reports++;
    if (reports === 100) {
      assert.is(listeners, 1);
      resolve();
      ({ promise, resolve } = Promise.withResolvers<void>());
      current = listened();
    }
    if (reports === 200) stop.abort();
  }) as unknown as Client["call"];
  await reportLoop({
    client: { call } as Client,
    id: "r1",
    ports: [],
    converger: { changed: () => current, state: () => ({}) as never },
    log: silentLog(),
    signal: stop.signal,
    everyMs: 0,
  });
  assert.is(reports, 200);
  assert.is(listeners, 2);
});

test.run();
