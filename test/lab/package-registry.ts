// The package registry of test/package-registry.ts as a process of the lab's "outside". Arguments: folder of its authority, address, port.
import process from "node:process";
import { run } from "#lib/run.ts";
import { startPackageRegistry } from "../package-registry.ts";

run(async (signal) => {
  const [folder = "", address = "", port = ""] = process.argv.slice(2);
  const registry = await startPackageRegistry({ folder, address, port: Number(port) });
  process.stdout.write(`registry at ${registry.url}\n`);
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  await registry.close();
});
