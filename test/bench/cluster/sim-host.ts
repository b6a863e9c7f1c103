// One simulated host: a target stream and a connection for reports, each job up a second after it was asked for.
import { createHash, randomBytes } from "node:crypto";
import type { HostReport, HostTargetPart } from "#api/host-agents.ts";
import { formatHello, ownHello } from "#api/version.ts";
import { changedSince, type Rows, rowsOf } from "../../../hostd/report-digest.ts";
import { type Connection, openConnection } from "./connection.ts";
import { addressOf, type Credentials } from "./seed.ts";
import { clockMs } from "./worker.ts";

const GIB = 1024 ** 3;
const WHOLE_EVERY_MS = 30_000;
/** Between two reports, as in hostd. */
const GATHER_MS = 50;
const STARTS_IN_MS = 1_000;
const STOPS_IN_MS = 200;
const HELLO = formatHello(ownHello("hostd"));

export interface SimHostOptions {
  at: number;
  port: number;
  credentials: Credentials;
  /** A job that was not in this host's target before. */
  onJob: (job: { id: string; appId: string }, atMs: number) => void;
  onFailure: (why: string) => void;
}

/** What went over a host's connections. */
export interface Counts {
  targets: number;
  targetBytes: number;
  reports: number;
  beats: number;
}
export const noCounts = (): Counts => ({ targets: 0, targetBytes: 0, reports: 0, beats: 0 });

interface SimJob {
  state: "starting" | "up" | "down";
  address: string;
  dueMs: number;
  stopping: boolean;
}

export class SimHost {
  readonly id: string;
  readonly at: number;
  readonly jobs = new Map<string, SimJob>();
  #options: SimHostOptions;
  #target: { term: number; seq: number; reachVersion: number | undefined } | undefined;
  #stream: Connection | undefined;
  #reports: Connection | undefined;
  #busy = false;
  #changed = true;
  /** A target was applied: control is told that it is. */
  #heardNew = false;
  #nextAddress = 2;
  #digest = "";
  #rows: Rows = new Map();
  #wholeMs = Number.NEGATIVE_INFINITY;
  #beatDueMs = 0;
  /** When its last report was answered. */
  reportedMs = 0;
  gone = false;
  counts: Counts = noCounts();

  constructor(options: SimHostOptions) {
    this.#options = options;
    this.at = options.at;
    this.id = options.credentials.hosts[options.at]!.id;
  }

  get current(): boolean {
    return this.#target !== undefined;
  }

  async start(): Promise<void> {
    const { credentials, port } = this.#options;
    const own = credentials.hosts[this.at]!;
    const identity = { ca: credentials.caPem, key: credentials.key, cert: own.certificate };
    [this.#stream, this.#reports] = await Promise.all([
      openConnection(port, identity, HELLO),
      openConnection(port, identity, HELLO),
    ]);
    this.#stream.stream(`/v1/hosts/${this.id}/target`, (event, data) => this.#heard(event, data));
    await this.report();
  }

  stop(): void {
    this.gone = true;
    this.#stream?.destroy();
    this.#reports?.destroy();
  }

  #heard(event: string, data: string): void {
    if (event === "fault") this.#options.onFailure(`${this.id}: ${data}`);
    if (event !== "item") return;
    const atMs = clockMs();
    this.counts.targets++;
    this.counts.targetBytes += data.length;
    const target = JSON.parse(withoutLists(data)) as HostTargetPart;
    const { term, seq, reach } = target;
    this.#target = { term, seq, reachVersion: reach?.version };
    this.#heardNew = true;
    const { jobs, jobChanges } = target;
    for (const { id, appId, desired } of jobs ?? jobChanges?.put ?? []) {
      const known = this.jobs.get(id);
      if (known === undefined) {
        const { subnet } = this.#options.credentials.hosts[this.at]!;
        const address = subnet.replace(/0\/24$/, String(this.#nextAddress));
        this.#nextAddress = this.#nextAddress === 254 ? 2 : this.#nextAddress + 1;
        this.jobs.set(id, { state: "starting", address, dueMs: atMs + STARTS_IN_MS, stopping: false });
        this.#changed = true;
        this.#options.onJob({ id, appId }, atMs);
      } else if (desired === "stop" && !known.stopping) {
        known.stopping = true;
        known.dueMs = atMs + STOPS_IN_MS;
      }
    }
    const wanted = jobs && new Set(jobs.map(({ id }) => id));
    const gone = wanted === undefined ? jobChanges?.gone : [...this.jobs.keys()].filter((id) => !wanted.has(id));
    for (const id of gone ?? []) this.jobs.delete(id);
  }

  /** Starts and ends what is due, and reports when something has changed, and as often as control asks. */
  async turn(): Promise<void> {
    if (this.gone || this.#target === undefined) return;
    const nowMs = clockMs();
    for (const job of this.jobs.values()) {
      if (job.dueMs > nowMs) continue;
      job.dueMs = Number.POSITIVE_INFINITY;
      job.state = job.stopping ? "down" : "up";
      this.#changed = true;
    }
    const isDue = nowMs >= this.#beatDueMs || this.#changed || this.#heardNew;
    if (isDue && !this.#busy && nowMs - this.reportedMs >= GATHER_MS) await this.report();
  }

  /** What hostd does: a beat while nothing is new, a whole report otherwise and every now and then. */

  async report(): Promise<void> {
    this.#busy = true;
    const isNew = this.#changed;
    this.#changed = false;
    this.#heardNew = false;
    try {
      if (!isNew && clockMs() - this.#wholeMs < WHOLE_EVERY_MS && (await this.#beat())) return;
      const since = this.#digest;
      this.#digest = randomBytes(16).toString("hex");
      this.counts.reports++;
      const report = this.#report();
      const rows = rowsOf(report);
      const body = { ...report, digest: this.#digest };
      if (clockMs() - this.#wholeMs < WHOLE_EVERY_MS) {
        const reply = await this.#post("report", { ...body, since, ...changedSince(this.#rows, report) });
        this.#rows = rows;
        if ((JSON.parse(reply) as { known?: boolean }).known !== false) return;
      }
      this.#wholeMs = clockMs();
      await this.#post("report", body);
      this.#rows = rows;
    } catch (error) {
      if (!this.gone) this.#options.onFailure(`${this.id}: ${(error as Error).message}`);
    } finally {
      this.#busy = false;
    }
  }

  async #beat(): Promise<boolean> {
    const { term = 0, seq = 0, reachVersion } = this.#target ?? {};
    const body = { term, seq, now: new Date().toISOString(), digest: this.#digest };
    this.counts.beats++;
    const reply = await this.#post("beat", { ...body, ...(reachVersion === undefined ? {} : { reachVersion }) });
    return (JSON.parse(reply) as { known: boolean }).known;
  }

  async #post(what: string, content: unknown): Promise<string> {
    const { status, body } = await this.#reports!.post(`/v1/hosts/${this.id}/${what}`, JSON.stringify(content));
    if (status !== 200) throw new Error(`${status} ${body}`);
    this.reportedMs = clockMs();
    this.#beatDueMs = this.reportedMs + ((JSON.parse(body) as { everyMs?: number }).everyMs ?? 2_000);
    return body;
  }

  #report(): HostReport {
    const { at } = this;
    const room = { sizeBytes: 1000 * GIB, freeBytes: 900 * GIB, reserveBytes: 5 * GIB };
    return {
      term: this.#target?.term ?? 0,
      seq: this.#target?.seq ?? 0,
      facts: {
        hostname: `h${at}`,
        address: addressOf(at),
        addresses: [addressOf(at)],
        capacity: { cpuMillis: 16_000, memoryBytes: 64 * GIB, diskBytes: 1000 * GIB },
        architecture: "amd64",
        bootId: `kernel-boot-${at}`,
        macs: ["52:54:00:00:00:01"],
        agentVersion: "0.1.0",
      },
      engine: { healthy: true, version: "20.10", reason: "" },
      now: new Date().toISOString(),
      ...(this.#target?.reachVersion === undefined ? {} : { reachVersion: this.#target.reachVersion }),
      space: { disk: room, memory: { ...room, sizeBytes: 64 * GIB, freeBytes: 32 * GIB }, pressure: [] },
      jobs: [...this.jobs].map(([id, { state, address }]) => ({
        id,
        state,
        reason: "",
        restarts: 0,
        ...(state === "starting" ? {} : { address, startedAt: startedAt(id), upAt: startedAt(id) }),
        memoryBytes: 40 * 1024 ** 2,
        disk: { usedBytes: 8192, limitBytes: 4 * GIB, enforcedBy: "watch" },
      })),
    };
  }
}

/** Left out are the lists as long as the cluster is large: what a host makes of them is its own machine's time, and this one has 5,000 in it. */
const withoutLists = (data: string): string => data.replace(/"(peers|closed)":\[[^\]]*\]/g, '"$1":[]');

/** Some time that stays the same for this job. */
const startedAt = (jobId: string): string =>
  new Date(1_760_000_000_000 + createHash("sha1").update(jobId).digest().readUInt32BE() / 100).toISOString();
