// The npm package `tftp` serving one folder, as a child of its own: under loss it can throw out of its timers.
// argv: folder. Tells its port.
import { createRequire } from "node:module";
import { freePort } from "../../lib/free-port.ts";

const port = await freePort("udp");
const tftp = createRequire(import.meta.url)("tftp");
const server = tftp.createServer({ host: "127.0.0.1", port, root: process.argv[2], denyPUT: true });
server.on("error", () => undefined);
server.on("request", (request: { on(event: string, handler: () => void): void }) =>
  request.on("error", () => undefined),
);
server.on("listening", () => process.send?.({ port }));
server.listen();
// Its "cb is not a function" would end every other transfer too; each is to be judged alone.
process.on("uncaughtException", () => undefined);
process.on("disconnect", () => process.exit(0));
