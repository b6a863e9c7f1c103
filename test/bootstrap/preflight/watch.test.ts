// The watch on a LAN: what it asks when, and what it makes of a server that a machine names.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DhcpServer } from "#api/dhcp-servers.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { watchLan } from "../../../bootstrap/preflight/watch.ts";

const own = { address: "10.77.0.9", gives: "10.77.0.40", boots: false };
const other = { address: "10.77.0.66", card: "52:54:00:00:00:66", gives: "10.77.0.200", boots: false };

async function watching(
  work: (rig: {
    lan: ReturnType<typeof watchLan>;
    hears: (servers: DhcpServer[] | Error) => void;
    asked: () => number;
    changes: string[][];
  }) => Promise<void>,
): Promise<void> {
  let heard: DhcpServer[] | Error = [own];
  let times = 0;
  const changes: string[][] = [];
  const lan = watchLan({
    async ask() {
      times++;
      if (heard instanceof Error) throw heard;
      return heard;
    },
    own: "10.77.0.1",
    onChange: (rogue) => void changes.push(rogue.map(({ address, rogueAs }) => `${address} ${rogueAs}`)),
    log: silentLog(),
    everyMs: 3_600_000,
    leastMs: 0,
  });
  const hears = (servers: DhcpServer[] | Error) => {
    heard = servers;
  };
  const stop = new AbortController();
  const running = lan.run(stop.signal);
  try {
    await until(() => times >= 1, { what: "the first question", timeoutMs: 10_000 });
    await work({ lan, hears, asked: () => times, changes });
  } finally {
    stop.abort();
    await running;
  }
}

test("a server that a machine names and that was not there at the start is asked for at once, and rogue", () =>
  watching(async ({ lan, hears, asked, changes }) => {
    assert.is(lan.named(own.address), undefined, "it was there");
    assert.is(lan.named("10.77.0.1"), undefined, "we are no other");
    hears([own, other]);
    assert.equal(lan.named(other.address), { address: other.address }, "its card is not known yet");
    await until(() => asked() === 2, { what: "the next question", timeoutMs: 10_000 });
    await until(() => lan.rogues().length === 1, { what: "the rogue", timeoutMs: 10_000 });
    assert.is(lan.named(other.address)?.card, other.card);
    assert.equal(changes, [["10.77.0.66 new"]]);
    hears([own]);
    lan.named("10.77.0.77");
    await until(() => changes.length === 2, { what: "its end", timeoutMs: 10_000 });
    assert.equal(changes[1], []);
  }));

test("a question that could not be asked changes nothing that is known", () =>
  watching(async ({ lan, hears, asked, changes }) => {
    hears([own, other]);
    lan.named(other.address);
    await until(() => changes.length === 1, { what: "the rogue", timeoutMs: 10_000 });
    hears(new Error("UDP 68 is taken"));
    const before = asked();
    lan.named("10.77.0.77");
    await until(() => asked() > before, { what: "the failed question", timeoutMs: 10_000 });
    assert.is(lan.rogues().length, 1);
  }));

test.run();
