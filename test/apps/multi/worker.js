// Works without a port: one line a second.
let n = 0;
console.log("worker: ready");
const timer = setInterval(() => console.log(`worker: job ${++n} done`), 1_000);
process.on("SIGTERM", () => {
  clearInterval(timer);
  console.log("worker: stopped");
  process.exit(0);
});
