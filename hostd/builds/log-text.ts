// What a program printed as lines fit for a push: no escape codes, no control characters, progress bars as their last state.
const MAX_LINE = 8_192;
// CSI (colours, cursor), OSC (titles, hyperlinks) and the two-character escapes of ECMA-48.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])?/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

export function cleanLine(line: string): string {
  const whole = line.replace(ESCAPES, "");
  let end = whole.length;
  while (whole[end - 1] === "\r" || whole[end - 1] === "\n") end--;
  const plain = whole.slice(0, end);
  const shown = plain.slice(plain.lastIndexOf("\r") + 1);
  const clean = shown.replace(CONTROLS, "");
  return (clean.length > MAX_LINE ? `${clean.slice(0, MAX_LINE)}...` : clean).toWellFormed();
}
