// The release phase: says what it prepares; fails when the app's variable FAIL_RELEASE says so.
console.log("release: preparing the database");
if (process.env.FAIL_RELEASE) {
  console.error(`release: ${process.env.FAIL_RELEASE}`);
  process.exit(1);
}
console.log("release: done");
