import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Facts, problems } from "#lib/setup/preflight.mjs";

const SETUP = fileURLToPath(import.meta.resolve("#lib/setup.mjs"));
const GIB = 1024 ** 3;
const GOOD: Facts = {
  missingFiles: [],
  architecture: "x64",
  debian: true,
  system: "Debian GNU/Linux 12 (bookworm)",
  version: "12",
  root: true,
  missingPackages: ["socat"],
  unreachable: [],
  cache: "/var/cache/flynn",
  disks: [{ path: "/tmp", free: 40 * GIB, needed: 12 * GIB }],
  memory: 20 * GIB,
  missingKernel: [],
  needsGo: true,
  go: true,
};

test("each thing that is missing is said with its name and what to do; nothing else is", () => {
  const all = ["lab", "test"];
  const table: [string, string[], Partial<Facts>, RegExp[]][] = [
    ["a sound machine", all, {}, []],
    [
      "a file of authorities",
      [],
      { missingFiles: [{ name: "PIP_CERT", path: "/no.pem" }] },
      [/^PIP_CERT names \/no\.pem.*unset/],
    ],
    ["another processor", [], { architecture: "arm64" }, [/arm64.*x86-64/]],
    ["another system", all, { debian: false, system: "Alpine" }, [/^this is Alpine.*use a Debian 12/]],
    ["an older Debian", all, { version: "11" }, [/Debian 11.*Debian 12/]],
    ["an older Debian that only runs the appliance", ["run"], { version: "11" }, []],
    ["no root, for a lab", all, { root: false }, [/only root.*sudo npm test/]],
    ["no root, packages missing", ["run"], { root: false }, [/apt-get install .*socat/]],
    ["no root, nothing missing", ["run"], { root: false, missingPackages: [] }, []],
    ["no way to the registry", [], { unreachable: [{ url: "https://r.test", why: "ECONNREFUSED" }] }, [/r\.test/]],
    [
      "no way out",
      all,
      { unreachable: [{ url: "https://r.test", why: "ECONNREFUSED" }] },
      [/r\.test.*ECONNREFUSED.*HTTPS_PROXY/],
    ],
    [
      "a full disk",
      all,
      { disks: [{ path: "/tmp", free: 3 * GIB, needed: 12 * GIB }] },
      [/3\.0 GiB.*12\.0 GiB.*TMPDIR/],
    ],
    ["little memory", all, { memory: 2 * GIB }, [/2\.0 GiB of memory/]],
    ["a kernel without overlays", all, { missingKernel: ["the overlay file system"] }, [/overlay/]],
    ["no Go", all, { go: false }, [/^Go 1\.24.*Install it/]],
    ["no Go, for the demo", ["lab"], { go: false }, []],
    ["no Go, for tests that build no lifecycle", all, { go: false, needsGo: false }, []],
    [
      "everything at once",
      all,
      { root: false, memory: 0, go: false, version: "11" },
      [/Debian 11/, /root/, /memory/, /Go/],
    ],
  ];
  for (const [title, sets, facts, wanted] of table) {
    const found = problems(sets, { ...GOOD, ...facts });
    assert.is(found.length, wanted.length, `${title}: ${found.join(" | ")}`);
    for (const [index, pattern] of wanted.entries()) assert.match(found[index]!, pattern, title);
  }
});

test("set-up says all that is missing before it runs anything, and exits 2", async () => {
  const env = { ...process.env, PIP_CERT: "/nowhere/a.pem", CURL_CA_BUNDLE: "/nowhere/b.pem" };
  const child = spawn(process.execPath, [SETUP, "--apt", "fresh", "--", "/nowhere/script.ts"], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, "close")]);
  assert.is(code, 2);
  assert.match(
    said,
    /^error: 2 things are missing before this can run:\n {2}- PIP_CERT names .*\n {2}- CURL_CA_BUNDLE names .*\n$/,
  );
});

test.run();
