// What the CLI uses of Node that Node 20 does not have yet. Imported first by the packed CLI, and by nothing else.

if (typeof Promise.withResolvers !== "function")
  Promise.withResolvers = <T>() => {
    let resolve!: (value: T | PromiseLike<T>) => void;
    let reject!: (reason?: unknown) => void;
    const promise = new Promise<T>((done, failed) => {
      resolve = done;
      reject = failed;
    });
    return { promise, resolve, reject };
  };

if (typeof URL.parse !== "function")
  URL.parse = (text, base) => {
    try {
      return new URL(text, base);
    } catch {
      return null;
    }
  };
