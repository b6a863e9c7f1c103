// Server-sent events (WHATWG HTML, 9.2): one parser and one printer for every stream.

export interface StreamEvent<T = unknown> {
  /** Sequence number to resume from, when the stream gives one. */
  id?: string;
  /** `item` carries data; `current` says that the past is over and what follows is live. */
  event: "item" | "current" | "fault";
  data?: T;
}

export function formatEvent(event: StreamEvent): string {
  const id = event.id === undefined ? "" : `id: ${event.id}\n`;
  return `${id}event: ${event.event}\ndata: ${JSON.stringify(event.data ?? null)}\n\n`;
}

export const KEEP_ALIVE = ": keep-alive\n\n";
export const KEEP_ALIVE_MS = 15_000;

/** Parses SSE text chunks into events; comments come out as undefined so that silence can be told from life. */
export async function* parseEvents(
  chunks: AsyncIterable<Buffer | string>,
  maxEventBytes = 32 << 20,
): AsyncGenerator<StreamEvent | undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const looked = Math.max(0, rest.length - 1); // what was looked through before is not looked through again
    rest += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    if (rest.length > maxEventBytes) throw new Error(`stream event is larger than ${maxEventBytes} bytes`);
    for (let end = rest.indexOf("\n\n", looked); end >= 0; end = rest.indexOf("\n\n")) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      yield parseBlock(block);
    }
  }
}

function parseBlock(block: string): StreamEvent | undefined {
  let id: string | undefined;
  let event = "item";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  if (data.length === 0) return undefined;
  return {
    ...(id === undefined ? {} : { id }),
    event: event as StreamEvent["event"],
    data: JSON.parse(data.join("\n")) as unknown,
  };
}
