// Answers "Hello from oom" until GET /eat (or EAT_AT_START), then takes 16 MiB every 20 ms until the kernel ends it.
const { createServer } = require("node:http");

const eaten = [];
const eat = () => {
  console.log("eating memory");
  setInterval(() => eaten.push(Buffer.alloc(16 * 1024 * 1024, 1)), 20);
};
createServer((request, response) => {
  if (request.url === "/eat") eat();
  response.end("Hello from oom\n");
}).listen(Number(process.env.PORT), () => console.log(`listening on ${process.env.PORT}`));
if (process.env.EAT_AT_START) eat();
process.on("SIGTERM", () => process.exit(0));
