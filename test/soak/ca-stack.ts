// The whole stack, built from nothing behind a proxy that opens TLS: npm, pip and apt get through it because the build passes on the one
// setting by which this machine knows the proxy's authority.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { startInterceptingProxy } from "./intercepting-proxy.ts";
import { ROOT } from "./run-tests.ts";
import type { Soak } from "./soaks.ts";

const BUILD_MS = 2_600_000;
const SETTINGS = /cert|ca_bundle|cainfo|cafile|proxy$|^npm_|^pip_/i;

export const caStack: Soak = {
  what: "the whole stack built behind a proxy that opens TLS",
  covers: ["images", "test/soak"],
  async run({ signal, say }) {
    const folder = await mkdtemp(join(tmpdir(), "flynn-ca-stack-"));
    const proxy = await startInterceptingProxy(join(folder, "tls"));
    try {
      const others = Object.entries(process.env).filter(([name]) => !SETTINGS.test(name));
      const home = join(folder, "home");
      await mkdir(home);
      const env = {
        ...Object.fromEntries(others),
        HOME: home,
        http_proxy: proxy.url,
        https_proxy: proxy.url,
        no_proxy: "",
        NODE_EXTRA_CA_CERTS: proxy.caFile,
      };
      const argv = [process.execPath, join(ROOT, "images/main.ts"), "stack", "--cache", join(folder, "cache")];
      const { stdout } = await exec(argv, {
        ...{ env, signal, timeoutMs: BUILD_MS },
        onOutput: (chunk, stream) => {
          if (stream === "stderr") say(chunk.toString().trimEnd());
        },
      });
      const { seconds } = JSON.parse(stdout) as { seconds: number };
      const requests = [...proxy.opened.values()].reduce((sum, count) => sum + count, 0);
      // npm's registry, and the package index with its files.
      if (proxy.opened.size < 2)
        throw new Error(`the build went past the proxy: it opened ${[...proxy.opened.keys()].join(", ") || "nothing"}`);
      return { done: true, figures: { seconds, hostsOpened: proxy.opened.size, requests } };
    } finally {
      await proxy.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
};
