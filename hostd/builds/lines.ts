// A byte stream as lines of UTF-8, each bounded: what is longer comes in pieces.
const MAX_LINE_BYTES = 1 << 20;

export async function* lines(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
    if (rest.length > MAX_LINE_BYTES) {
      yield rest;
      rest = "";
    }
  }
  if (rest !== "") yield rest;
}
