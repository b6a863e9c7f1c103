// `npm run bench -- NAME [--json] [--quick]`: runs test/bench/NAME.ts, or with NAME `all` each in turn, and prints a table of its
// figures and of its ratios to the peers measured in the same run; with --json one line per benchmark on stdout.
import { readdir } from "node:fs/promises";
import { cpus, release, totalmem } from "node:os";
import { run } from "#lib/run.ts";
import { formatDuration, formatSize } from "#lib/units.ts";

export interface BenchOptions {
  signal: AbortSignal;
  /** A tenth of the work, to see that it runs: the figures mean nothing. */
  quick?: boolean;
  /** Progress, on stderr. */
  log(line: string): void;
}

export interface BenchResult {
  /** Names end in their unit: placementsPerSecond, p99Ms, memoryBytes. */
  figures: Record<string, number>;
  /** Ours divided by the peer's; above 1 is better. */
  ratios: Record<string, number>;
  notes?: string[];
}

/** What a file of this folder exports. */
export interface Bench {
  name: string;
  run(options: BenchOptions): Promise<BenchResult>;
}

const FOLDER = new URL("./", import.meta.url);

async function main(signal: AbortSignal): Promise<number> {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg.startsWith("-") && arg !== "--json" && arg !== "--quick");
  const [name, ...more] = args.filter((arg) => !arg.startsWith("-"));
  const available = await benchNames();
  if (unknown !== undefined || more.length > 0 || name === undefined || (name !== "all" && !available.includes(name))) {
    const wrong = unknown ?? more[0] ?? name;
    console.error(
      `${wrong === undefined ? "usage" : `"${wrong}" is no benchmark or option; usage`}: npm run bench -- NAME [--json] [--quick]`,
    );
    console.error(`NAME is all or one of: ${available.join(" ")}`);
    return 2;
  }
  const json = args.includes("--json");
  let failed = 0;
  for (const each of name === "all" ? available : [name]) {
    signal.throwIfAborted();
    try {
      const bench = await load(each);
      const log = (line: string) => console.error(`${bench.name}: ${line}`);
      const startedMs = performance.now();
      const result = await bench.run({ signal, quick: args.includes("--quick"), log });
      const took = formatDuration(performance.now() - startedMs);
      console.log(json ? jsonLine(bench.name, result) : table(bench.name, result, took));
    } catch (error) {
      if (name !== "all" || signal.aborted) throw error;
      console.error(`${each}: ${(error as Error).stack}`);
      failed++;
    }
  }
  return failed === 0 ? 0 : 1;
}

/** Every file at the top of this folder is a benchmark; what one needs beside it lives in a folder of its own. */
async function benchNames(): Promise<string[]> {
  const files = await readdir(FOLDER);
  return files
    .filter((file) => /^[a-z0-9-]+\.ts$/.test(file) && file !== "run.ts")
    .map((file) => file.replace(/\.ts$/, ""))
    .sort();
}

async function load(name: string): Promise<Bench> {
  const module = (await import(new URL(`${name}.ts`, FOLDER).href)) as Partial<Bench>;
  if (typeof module.name !== "string" || typeof module.run !== "function") {
    throw new Error(`test/bench/${name}.ts does not export \`name\` and \`run\``);
  }
  return { name: module.name, run: module.run };
}

function jsonLine(name: string, { figures, ratios }: BenchResult): string {
  return JSON.stringify({ name, date: new Date().toISOString(), machine: machine(), figures, ratios });
}

function table(name: string, { figures, ratios, notes = [] }: BenchResult, took: string): string {
  const rows = [
    ...Object.entries(figures).map(([key, value]) => [key, shown(key, value)]),
    ...Object.entries(ratios).map(([key, value]) => [`ratio ${key}`, value.toFixed(2)]),
  ];
  const width = Math.max(...rows.map(([key]) => key!.length), 0);
  const lines = rows.map(([key, value]) => `  ${key!.padEnd(width)}  ${value!.padStart(14)}`);
  return [`${name}  (${took}, ${machine()})`, ...lines, ...notes.map((note) => `  ${note}`), ""].join("\n");
}

function shown(key: string, value: number): string {
  if (key.endsWith("Bytes")) return formatSize(value);
  if (key.endsWith("Ms")) return `${value < 10 ? value.toFixed(3) : value.toFixed(1)} ms`;
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : `${Number(value.toFixed(3))}`;
}

function machine(): string {
  const [first] = cpus();
  return `${cpus().length} x ${first?.model.trim() ?? "unknown cpu"}, ${formatSize(totalmem())}, Linux ${release()}, Node ${process.version}`;
}

run(main);
