// Control's own machine gets and loses addresses while it runs: what jobs are kept from follows.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { loadControlConfig } from "../../../control/config.ts";
import { keepOwnAddresses } from "../../../control/network/own-addresses.ts";
import { reaches } from "../../../control/network/reaches.ts";
import { withRig } from "../rig.ts";

test("an address that control's machine gets is closed to every job, in a newer version; what does not change writes nothing", () =>
  withRig(
    async ({ store }) => {
      let addresses = ["10.1.0.1", "192.168.5.1"];
      const known = [...addresses];
      const config = loadControlConfig();
      const kept = reaches({ store, config, controlUrls: [], monotonicMs: () => 0, localAddresses: known });
      store.onDurable((record) => kept.apply(record));
      const first = kept.of("h1");
      assert.equal(first.closed, ["10.1.0.1/32", "192.168.5.1/32"]);
      const stop = new AbortController();
      let reads = 0;
      const read = () => {
        reads++;
        return [...addresses];
      };
      const { signal } = stop;
      const loop = keepOwnAddresses({ store, known, read, log: silentLog(), everyMs: 1, signal });
      await until(() => reads > 3, { what: "it is read", timeoutMs: 5_000, everyMs: 1 });
      assert.is(kept.of("h1").version, first.version);
      addresses = ["10.1.0.1", "203.0.113.9"];
      const isNew = () => kept.of("h1").closed.includes("203.0.113.9/32");
      await until(isNew, { what: "the new address is closed", timeoutMs: 5_000, everyMs: 1 });
      stop.abort();
      await loop;
      assert.ok(kept.of("h1").version > first.version);
      assert.equal(kept.of("h1").closed, ["10.1.0.1/32", "203.0.113.9/32"]);
    },
    { loops: false },
  ));

test.run();
