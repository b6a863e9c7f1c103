// Indexes of control, each given every record: what one cannot take in harms neither the others nor the records after it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { silentLog } from "#lib/log.ts";
import { type Indexes, takeIn } from "../../control/indexes.ts";
import type { JobChange } from "../../control/job-index.ts";
import { keys } from "../../control/keys.ts";
import type { LogRecord } from "../../control/store/log.ts";
import { withRig } from "./rig.ts";

const ORDER = ["jobs", "hostChanges", "feeds", "reach"] as const satisfies (keyof Indexes)[];
const job = (id: string): Job => ({ id, appId: "app", hostId: "h1" }) as Job;
const record = (seq: number): LogRecord =>
  ({ seq, mutations: [{ key: keys.job("app", `j${seq}`), value: job(`j${seq}`) }] }) as unknown as LogRecord;

for (const failing of ORDER)
  test(`a record that ${failing} cannot take in reaches the others, in their order, and so does each after it`, () => {
    const taken: string[] = [];
    const told: string[] = [];
    const take = (index: keyof Indexes, { seq }: LogRecord, changes: readonly JobChange[] = []) => {
      taken.push(`${index} ${seq}`);
      if (index === "feeds") told.push(...changes.map(({ after }) => after!.id));
      if (index === failing && seq === 2) throw new Error("one bad record");
    };
    const errors: object[] = [];
    const log = { ...silentLog(), error: (fields: object) => void errors.push(fields) } as ReturnType<typeof silentLog>;
    const each = takeIn(
      {
        jobs: {
          apply(one) {
            take("jobs", one);
            return [{ after: job(`j${one.seq}`) }];
          },
        },
        hostChanges: { apply: (one, changes) => take("hostChanges", one, changes) },
        feeds: { apply: (one, changes) => take("feeds", one, changes) },
        reach: { apply: (one) => take("reach", one) },
      },
      log,
    );
    for (const seq of [1, 2, 3]) each(record(seq));
    assert.equal(
      taken,
      [1, 2, 3].flatMap((seq) => ORDER.map((index) => `${index} ${seq}`)),
    );
    assert.equal(told, ["j1", "j2", "j3"], "hosts are told of every job, known to the index or not");
    assert.equal(
      errors.map((fields) => ({ ...fields, causes: undefined })),
      [{ index: failing, seq: 2, causes: undefined }],
      "said once",
    );
  });

test("a network rule that is none holds up no job: the next one is known at once", () =>
  withRig(
    async (rig) => {
      const { id: hostId } = await rig.host();
      const { jobs } = rig.control.context;
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.networkRule("bad"), value: { id: "bad" } }] });
      await rig.store.commit({
        actor: "test",
        mutations: [{ key: keys.job("app", "j"), value: { ...job("j"), hostId } }],
      });
      assert.is(jobs.get("j")?.hostId, hostId);
    },
    { loops: false },
  ));

test.run();
