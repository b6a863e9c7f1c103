// Answers "Hello from vendored BUILT": by a package out of vendor/, and what the build script made.
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { greet } = require("greet");

const built = readFileSync("built.txt", "utf8").trim();
createServer((_request, response) => response.end(`${greet("vendored")} ${built}\n`)).listen(Number(process.env.PORT));
process.on("SIGTERM", () => process.exit(0));
