// Listens only after SLOW_MS milliseconds (5000), then answers "Hello from slow-start".
const { createServer } = require("node:http");

const server = createServer((_request, response) => response.end("Hello from slow-start\n"));
console.log("warming up");
setTimeout(
  () => server.listen(Number(process.env.PORT), () => console.log(`listening on ${process.env.PORT}`)),
  Number(process.env.SLOW_MS || 5_000),
);
process.on("SIGTERM", () => process.exit(0));
