// How a job becomes a container.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { JobSpec } from "#api/jobs.ts";
import { LABELS } from "../../hostd/engine/engine.ts";
import { containerSpec, isJobContainer, isOutdated, specHash } from "../../hostd/job-container.ts";
import { container, IMAGE, job, target } from "./jobs.ts";

const made = (of: JobSpec, attempt = 2) => containerSpec(of, target([of]), ["10.0.0.2"], attempt);

test("a container is the job's image, limits and variables, and says in labels and variables whose it is", () => {
  const of = job({ command: ["a", "b"], entrypoint: ["e"] });
  assert.equal(made(of), {
    name: "flynn-j1",
    image: IMAGE,
    labels: {
      [LABELS.job]: "j1",
      [LABELS.app]: "hello",
      [LABELS.process]: "web",
      [LABELS.host]: "host-1",
      [LABELS.spec]: specHash(of),
      [LABELS.attempt]: "2",
      [LABELS.attach]: "0",
      [LABELS.appId]: "app-1",
    },
    env: {
      COLOUR: "blue",
      PORT: "8080",
      HOST_ID: "host-1",
      FLYNN_APP: "hello",
      FLYNN_RELEASE: "rel-1",
      FLYNN_JOB: "j1",
      FLYNN_PROCESS: "web",
    },
    command: ["a", "b"],
    entrypoint: ["e"],
    hostname: "j1",
    network: "flynn",
    dns: ["10.0.0.2"],
    memoryBytes: 512 * 1024 ** 2,
    cpuMillis: 100,
    pids: 64,
  });
});

test("a port, a limit of disk and a client are said of a job that has them, and of no other", () => {
  const { port: _, ...silent } = job();
  assert.not.ok("PORT" in made(silent as JobSpec).env);
  assert.not.ok("diskBytes" in made(job()));
  assert.is(made(job({ diskBytes: 7 })).diskBytes, 7);
  for (const tty of [true, false]) {
    const attached = made(job({ task: { attach: true, tty } as never }));
    assert.equal([attached.interactive, attached.labels[LABELS.attach]], [{ tty }, "1"]);
  }
  const once = made(job({ task: { attach: false, tty: true } as never }));
  assert.equal([once.interactive, once.labels[LABELS.attach]], [undefined, "0"]);
});

test("an app's variables do not hide the platform's", () => {
  const env = { PORT: "1", HOST_ID: "x", FLYNN_APP: "x", FLYNN_RELEASE: "x", FLYNN_JOB: "x", FLYNN_PROCESS: "x" };
  assert.equal(made(job({ env })).env, { ...made(job({ env: {} })).env });
});

test("a host name is at most 63 letters, digits and hyphens", () => {
  assert.is(made(job({ id: "job_1.x-Y9" })).hostname, "job-1-x-Y9");
  assert.is(made(job({ id: "x".repeat(70) })).hostname, "x".repeat(63));
});

test("a container is a job's when its name says the same as its label", () => {
  const named = (name: string, labels: Record<string, string>) => isJobContainer({ name, labels });
  assert.ok(named("flynn-j1", { [LABELS.job]: "j1" }));
  assert.not(named("flynn-j2", { [LABELS.job]: "j1" }));
  assert.not(named("flynn-j1", {}));
  assert.not(named("flynn-undefined", {}));
});

test("what a running container was made from has a hash; where the image lies and the order of variables are not in it", () => {
  const of = job({ env: { A: "1", B: "2" } });
  assert.match(specHash(of), /^1:[0-9a-f]{16}$/);
  for (const same of [
    { ...of, env: { B: "2", A: "1" } },
    { ...of, image: of.image.replace("127.0.0.1:5000", "10.0.0.1:5000") },
    { ...of, diskBytes: 5 },
    { ...of, stopTimeoutMs: 1 },
    { ...of, version: 9 },
  ])
    assert.is(specHash(same), specHash(of));
  const changes: Partial<JobSpec>[] = [
    { image: of.image.replace("ab", "cd") },
    { command: ["x"] },
    { entrypoint: ["x"] },
    { env: { A: "1" } },
    { env: { A: "1", B: "3" } },
    { port: 81 },
    { cpuMillis: 101 },
    { memoryBytes: 1 },
    { pids: 1 },
  ];
  const others = changes.map((over) => specHash({ ...of, ...over }));
  assert.is(new Set([specHash(of), ...others]).size, others.length + 1);
});

test("a container is outdated when it was certainly made from another spec; what another version made is left alone", () => {
  const of = job();
  const labelled = (spec: string | undefined) => {
    const { [LABELS.spec]: _, ...labels } = container(of).labels;
    return isOutdated(
      container(of, { labels: { ...labels, ...(spec === undefined ? {} : { [LABELS.spec]: spec }) } }),
      of,
    );
  };
  assert.not(isOutdated(container(of), of));
  assert.ok(isOutdated(container(of), { ...of, port: 81 }));
  assert.ok(labelled("1:0000000000000000"));
  for (const other of ["2:0000000000000000", "0:x", "", undefined]) assert.not(labelled(other), other);
});

test.run();
