// What a program printed, as text that a terminal only shows: no escape sequences (ECMA-48), no control characters, nothing that
// turns the direction of what follows. A log's line is written by an app, and read in somebody's terminal.

// CSI (colours, cursor), OSC (titles, hyperlinks), the strings DCS, SOS, PM and APC, and the two-character escapes.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

const withoutEscapes = (text: string): string => text.replace(ESCAPES, "");

/** Line feeds and tabs stay. */
export const shownText = (text: string): string => withoutEscapes(text).replace(CONTROLS, "");

/** JSON of the same value, of which a terminal acts on nothing: what is no text in it as `\uNNNN`. */
export const shownJson = (json: string): string =>
  json.replace(CONTROLS, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A whole output: CR ends a line. */
export const shownOutput = (text: string): string => withoutEscapes(text).replace(/\r\n?/g, "\n").replace(CONTROLS, "");

/** One line: a progress bar as its last state. */
export function shownLine(line: string, most: number): string {
  const whole = withoutEscapes(line);
  let end = whole.length;
  while (whole[end - 1] === "\r" || whole[end - 1] === "\n") end--;
  const plain = whole.slice(0, end);
  const shown = plain.slice(plain.lastIndexOf("\r") + 1).replace(CONTROLS, "");
  return (shown.length > most ? `${shown.slice(0, most)}...` : shown).toWellFormed();
}
