// What a push asks for, and whether it may: pure rules over the lines git gives its hooks (githooks(5)).

export interface Update {
  from: string;
  to: string;
  ref: string;
}

/** A deletion is of branches that are not deployed from any more. */
export type Judgement = { deploy: Update; branch: string } | { remove: readonly Update[] } | { refused: string[] };

const HEADS = "refs/heads/";
const LINES_MOST = 20;
export const isNone = (oid: string): boolean => /^0+$/.test(oid);

/** Branches that a push deploys. */
export function deployBranches(app: { deployBranch?: string }): readonly [string, ...string[]] {
  return app.deployBranch === undefined ? ["main", "master"] : [app.deployBranch];
}

/** `<old> SP <new> SP <ref> LF`, any number of them; undefined when it is not that. */
export function parseUpdates(text: string): Update[] | undefined {
  const updates: Update[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, from, to, ref] =
      /^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) (refs\/[^\u0000-\u0020\u007f]{1,1000})$/.exec(line) ?? [];
    if (from === undefined || to === undefined || ref === undefined) return undefined;
    updates.push({ from, to, ref });
  }
  return updates;
}

/** The one update that is deployed, or why nothing is. All or nothing, since git's pre-receive is. */
export function judge(updates: readonly Update[], app: { name: string; deployBranch?: string }): Judgement {
  const branches = deployBranches(app);
  const wanted = (ref: string) => branches.some((branch) => ref === HEADS + branch);
  const removes = updates.every(
    ({ ref, from, to }) => ref.startsWith(HEADS) && !wanted(ref) && isNone(to) && !isNone(from),
  );
  if (removes && updates.length > 0) return { remove: updates };
  const refused = updates.flatMap((update) => {
    if (!wanted(update.ref))
      return [`${told(update.ref)} ${isTag(update.ref) ? TAG : `is not deployed: ${say(branches)} is`}`];
    return isNone(update.to)
      ? [`${told(update.ref)} is what ${app.name} is deployed from and cannot be deleted; to end the app: flynn delete`]
      : [];
  });
  const deploys = updates.filter(({ ref, to }) => wanted(ref) && !isNone(to));
  const [deploy] = deploys;
  const many = deploys.length > 1 ? [`${deploys.map(({ ref }) => told(ref)).join(" and ")}: push one of them`] : [];
  if (refused.length + many.length === 0 && deploy !== undefined)
    return { deploy, branch: deploy.ref.slice(HEADS.length) };
  const branch = deploy?.ref.slice(HEADS.length) ?? branches[0];
  const shown = [...refused, ...many];
  const more = shown.length > LINES_MOST ? [`and ${shown.length - LINES_MOST} more like these`] : [];
  return { refused: [...shown.slice(0, LINES_MOST), ...more, ...todo(updates, branch, branches, app)] };
}

const TAG = "is a tag; tags are not deployed, branches are";
const isTag = (ref: string): boolean => ref.startsWith("refs/tags/");
const say = (branches: readonly string[]): string => branches.join(" or ");
const told = (ref: string): string => (ref.startsWith(HEADS) ? `branch ${ref.slice(HEADS.length)}` : ref);

/** What to type instead. */
function todo(
  updates: readonly Update[],
  branch: string,
  branches: readonly string[],
  app: { name: string },
): string[] {
  const other = updates.find(
    ({ ref, to }) => ref.startsWith(HEADS) && !isNone(to) && !branches.includes(ref.slice(HEADS.length)),
  );
  const lines = [`To deploy: git push flynn ${branch}`];
  if (other === undefined || updates.length > 1) return lines;
  const name = other.ref.slice(HEADS.length);
  if (!/^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$/.test(name)) return lines;
  return [
    `To deploy it: git push flynn ${name}:${branch}`,
    `To deploy ${name} from now on: flynn -a ${app.name} deploy set branch=${name}`,
  ];
}
