// Docker's build output in the grammar of a push: steps as people wrote them, what they print, no ids. What it says of itself
// can be printed by a step as well, so nothing here is believed where it would matter.
export interface StepOutput {
  /** Lines for the log. */
  lines: string[];
  /** A container that a step runs in. */
  container?: string;
}

export interface DockerfileOutput {
  read(text: string): StepOutput[];
  /** Line of the step that is at work. */
  step(): string | undefined;
  /** Ids of images that were made or found. */
  images: ReadonlySet<string>;
  tail(): string;
}

const INDENT = "       ";
const TAIL_LINES = 20;
const SHOWN = 200;

const oneLine = (text: string): string =>
  text
    .slice(0, SHOWN)
    .split("\n")
    .map((part) => part.trim())
    .join(" ");

/** `steps`: one per instruction that Docker gets; undefined for one that is not the people's. */
export function readOutput(steps: readonly (string | undefined)[]): DockerfileOutput {
  const images = new Set<string>();
  const tail: string[] = [];
  const shown = steps.filter((step) => step !== undefined).length;
  let rest = "";
  let at = 0;
  let current: string | undefined;
  let hidden = false;

  const line = (text: string): StepOutput => {
    const step = /^Step (\d+)\/(\d+) : /.exec(text);
    if (step && Number(step[1]) > at && Number(step[1]) <= steps.length) {
      at = Number(step[1]);
      current = steps[at - 1];
      hidden = current === undefined;
      if (current === undefined) return { lines: [] };
      const number = steps.slice(0, at).filter((one) => one !== undefined).length;
      return { lines: [`${INDENT}Step ${number}/${shown}: ${oneLine(current)}`] };
    }
    const image = /^ ---> ([0-9a-f]{12})$/.exec(text);
    if (image) {
      images.add(image[1]!);
      return { lines: [] };
    }
    const running = /^ ---> Running in ([0-9a-f]{12})$/.exec(text);
    if (running) return { lines: [], container: running[1] };
    if (text === " ---> Using cache") return { lines: hidden ? [] : [`${INDENT}  (from cache)`] };
    if (/^(Removing intermediate container [0-9a-f]{12}|Successfully built [0-9a-f]{12})$/.test(text))
      return { lines: [] };
    if (text.trim() !== "") tail.push(text);
    if (tail.length > TAIL_LINES) tail.shift();
    return { lines: hidden || text.trim() === "" ? [] : [`${INDENT}${text}`] };
  };

  return {
    read(text) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      // A progress line without an end, or one without measure.
      if (rest.length > 1 << 16) parts.push(rest.slice(0, 1 << 16));
      if (rest.length > 1 << 16) rest = "";
      return parts.map(line);
    },
    step: () => current,
    images,
    tail: () => tail.join("\n"),
  };
}
