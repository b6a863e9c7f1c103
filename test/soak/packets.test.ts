// The soak of hostile packets, in small: the same seed gives the same inputs, the parsers hold, and a fault would be found.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { chance, mutated } from "./packets/mutate.ts";
import { corpus, TARGETS } from "./packets/targets.ts";

test("the same seed gives the same inputs, another seed others", () => {
  const samples = corpus("tftp");
  const some = (seed: number) => {
    const next = chance(seed);
    return Array.from({ length: 50 }, () => mutated(samples, next).toString("hex"));
  };
  assert.equal(some(7), some(7));
  assert.not.equal(some(7), some(8));
});

for (const [name, { samples, read }] of Object.entries(TARGETS)) {
  test(`${name}: its corpus and 5,000 harms of it`, () => {
    assert.ok(samples.length > 0);
    const next = chance(Date.now() % 0x7fffffff);
    for (const sample of samples) read(Buffer.from(sample));
    for (let n = 0; n < 5_000; n++) {
      const bytes = mutated(samples, next);
      try {
        read(bytes);
      } catch (cause) {
        throw new Error(`hex ${bytes.toString("hex")}`, { cause });
      }
    }
  });
}

test("harms reach far: of 5,000 some DHCP packets are still read and some are not", () => {
  const next = chance(3);
  const samples = corpus("dhcp");
  const lengths = new Set(Array.from({ length: 5_000 }, () => mutated(samples, next).length));
  assert.ok(lengths.size > 100);
  const isHeader = (bytes: Buffer) => bytes.length >= 240 && bytes.readUInt32BE(236) === 0x63825363;
  const whole = Array.from({ length: 2_000 }, () => mutated(samples, next)).filter(isHeader).length;
  assert.ok(whole > 200 && whole < 1_990, `${whole} of 2,000 have a whole header`);
});

test.run();
