// Answers "Hello from docker" and what it was started with.
const { createServer } = require("node:http");

const server = createServer((request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`${process.env.GREETING || "Hello"} from docker ${request.url}\n`);
});
server.listen(Number(process.env.PORT), () => console.log(`listening on ${process.env.PORT}`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
