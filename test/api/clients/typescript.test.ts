// time limit: 120 s
// A TypeScript client made from api/openapi.json, as README says: it compiles as strictly as we do, and speaks with a real control.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { generate, HttpClient } from "openapi-typescript-codegen";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { GIB, type Rig, withRig } from "../../control/rig.ts";
import { NEW_STATE, newerControl } from "./newer-control.ts";

const DOCUMENT = fileURLToPath(new URL("../../../api/openapi.json", import.meta.url));
const TSC = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url));

/** What somebody writes who has only the generated client. Its types are part of what is tried. */
const PROGRAM = `
import {
  ApiError, AppsService, DrainsService, HostsService, KeysService, OpenAPI, RoutesService, ServicesService, StatusService, TokensService,
  type App, type Host, type Route,
} from "./client/index";

declare const process: { env: Record<string, string>; stdout: { write(text: string): void } };
OpenAPI.BASE = process.env["URL"]!;
OpenAPI.TOKEN = process.env["TOKEN"]!;

const made: App = await AppsService.createApp("once", { name: "shop" });
const again: App = await AppsService.createApp("once", { name: "shop" });
if (made.id !== again.id) throw new Error("a key made two apps");
const changed = await AppsService.updateApp("shop", undefined, { batchSize: null, deployTimeoutMs: 60_000 });
const timeoutMs: number = changed.deployTimeoutMs;
await ServicesService.createService({ name: "hello", image: "hello:1", count: 2 });
const route: Route = await RoutesService.createRoute({ app: "hello", domain: "www.example.com" });
const read: Route = await RoutesService.getRoute(route.id);
if (read.id !== route.id) throw new Error("another route");
const names: string[] = [];
for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
  const page = await AppsService.listApps(1, cursor);
  names.push(...page.items.map(({ name }) => name));
  cursor = page.nextCursor;
}
const releases = await AppsService.listReleases("hello");
const release = await AppsService.getRelease("hello", "v1");
if (releases.items[0]?.id !== release.id) throw new Error("another release");
const host: Host | undefined = (await HostsService.listHosts()).items[0];
const hostState: string | undefined = host?.state;
const memory: number | undefined = host?.capacity.memoryBytes;
const drain = await DrainsService.createLogDrain({ url: "https://logs.example.com/" });
await DrainsService.getLogDrain(drain.id);
await DrainsService.deleteLogDrain(drain.id);
const token = await TokensService.createToken({ name: "ci", permissions: ["app:read"] });
await KeysService.listKeys();
const status = await StatusService.getStatus();
const refusal = await AppsService.getApp("nobody").then(
  () => "none",
  (error: unknown) => (error instanceof ApiError ? \`\${error.status} \${error.body.code}\` : String(error)),
);
const version: string = status.version;
process.stdout.write(JSON.stringify({ names: names.sort(), refusal, timeoutMs, memory, hostState, hasToken: token.token.startsWith("fat_"), version }));
`;

test("the client that a generator makes of the document compiles, and makes, reads, pages and removes with a real control", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-ts-client-"));
  try {
    await generate({
      input: DOCUMENT,
      output: join(directory, "client"),
      httpClient: HttpClient.FETCH,
      useUnionTypes: true,
    });
    await writeFile(join(directory, "program.ts"), PROGRAM);
    const options = { target: "es2024", module: "esnext", moduleResolution: "bundler", lib: ["es2024", "dom"] };
    const settings = { compilerOptions: { ...options, strict: true, noEmit: true, types: [] }, files: ["program.ts"] };
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify(settings));
    await exec([process.execPath, TSC, "-p", directory], { timeoutMs: 60_000 });
    const program = join(directory, "program.mjs");
    await build({
      entryPoints: [join(directory, "program.ts")],
      bundle: true,
      format: "esm",
      platform: "node",
      outfile: program,
    });
    const ca = join(directory, "ca.pem");
    const speak = (rig: Rig, url: string) =>
      exec([process.execPath, program], {
        env: { ...process.env, URL: url, TOKEN: rig.token, NODE_EXTRA_CA_CERTS: ca },
        timeoutMs: 30_000,
      });
    for (const isNewer of [false, true])
      await withRig(
        async (rig) => {
          const host = await rig.host("h1");
          await host.report();
          await writeFile(ca, rig.caPem);
          const newer = isNewer ? await newerControl(rig) : undefined;
          try {
            const { stdout } = await speak(rig, newer?.url ?? rig.url);
            const { version, hostState, ...said } = JSON.parse(stdout) as Record<string, unknown>;
            assert.match(String(version), /^\d+\.\d+\.\d+/);
            assert.is(hostState === NEW_STATE, isNewer, String(hostState));
            assert.equal(said, {
              names: ["hello", "shop"],
              refusal: "404 not-found",
              timeoutMs: 60_000,
              memory: 8 * GIB,
              hasToken: true,
            });
          } finally {
            await newer?.close();
          }
        },
        { loops: false },
      );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
