// Where a merged log stream stands: for each source the number of its last line sent. Its text is the event id that a reader comes
// back with; a source that is not in it is asked for what it wrote since the stream began.

export interface Place {
  /** When the stream began. */
  since: string;
  numbers: ReadonlyMap<string, number>;
}

const SINCE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const NUMBER = /^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=(\d{1,16})$/;

export const formatPlace = ({ since, numbers }: Place): string =>
  [since, ...[...numbers].map(([source, n]) => `${source}=${n}`)].join(";");

/** undefined for what is no place: the reader then begins anew. */
export function parsePlace(text: string | undefined): Place | undefined {
  const [since = "", ...rest] = (text ?? "").split(";");
  if (!SINCE.test(since)) return undefined;
  const numbers = new Map<string, number>();
  for (const part of rest) {
    const match = NUMBER.exec(part);
    if (match === null) return undefined;
    numbers.set(match[1]!, Number(match[2]));
  }
  return { since, numbers };
}
