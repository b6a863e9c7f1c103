// Docker's multiplexed output without a terminal: 8-byte headers (stream, 0, 0, 0, length) before each piece. Bytes are passed on
// as they come, never gathered: a piece may be of any length.

const HEADER_BYTES = 8;

export interface OutputChunk {
  stream: "stdout" | "stderr";
  data: Buffer;
}

export async function* rawFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<OutputChunk> {
  let header: Buffer = Buffer.alloc(0);
  let left = 0;
  let stream: OutputChunk["stream"] = "stdout";
  for await (const chunk of chunks) {
    let at = 0;
    while (at < chunk.length) {
      if (left === 0) {
        const part = chunk.subarray(at, at + HEADER_BYTES - header.length);
        at += part.length;
        header = Buffer.concat([header, part]);
        if (header.length < HEADER_BYTES) break;
        stream = header[0] === 2 ? "stderr" : "stdout";
        left = header.readUInt32BE(4);
        header = Buffer.alloc(0);
        continue;
      }
      const data = chunk.subarray(at, at + left);
      at += data.length;
      left -= data.length;
      yield { stream, data };
    }
  }
}
