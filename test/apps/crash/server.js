// Says why on its last line and ends with code 3, every time; with CRASH_AFTER_MS it listens until then.
const { createServer } = require("node:http");

console.log("starting");
const die = () => {
  console.error("fatal: no database at db:5432");
  process.exit(3);
};
if (process.env.CRASH_AFTER_MS) {
  createServer((_request, response) => response.end("Hello from crash\n")).listen(Number(process.env.PORT));
  setTimeout(die, Number(process.env.CRASH_AFTER_MS));
} else die();
