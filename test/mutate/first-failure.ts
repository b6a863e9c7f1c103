// Loaded before a test file: it ends with its first failed test, for that one is enough to catch a mutant. What it opened goes with its
// namespaces.
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = ((...args: Parameters<typeof write>) => {
  const isTaken = write(...args);
  if (args[0] === "✘ ") process.exit(1); // how uvu shows a failed test; a pipe's writes are done when they return
  return isTaken;
}) as typeof write;
