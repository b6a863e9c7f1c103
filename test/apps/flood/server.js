// Answers "Hello from flood" and writes FLOOD_LINES_PER_SECOND log lines (20000) of 100 bytes, numbered, as fast as they are taken.
const { createServer } = require("node:http");

const perTurn = Math.max(1, Math.floor(Number(process.env.FLOOD_LINES_PER_SECOND || 20_000) / 50));
let n = 0;
let full = false;
process.stdout.on("drain", () => {
  full = false;
});
setInterval(() => {
  if (full) return;
  let text = "";
  for (let at = 0; at < perTurn; at++) text += `flood ${n++} `.padEnd(99, "x") + "\n";
  full = !process.stdout.write(text);
}, 20);
createServer((_request, response) => response.end("Hello from flood\n")).listen(Number(process.env.PORT));
process.on("SIGTERM", () => process.exit(0));
