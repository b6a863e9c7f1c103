// The stack: both images come in on their own and become the stack together, so that no build sees half of a new one.

import { Fault } from "#api/fault.ts";
import * as stack from "#api/stack.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import type { DeadImage } from "../image-sweep.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { Registry } from "../registry.ts";
import type { Change } from "../store/store.ts";

const SUPERSEDED_KEPT = 20;
const PARTS = ["builder", "runner"] as const;

const repositoryOf = (part: stack.StackPart): string => `stack/${part}`;

export function mountStack(mount: Mount, { store, now }: Pick<Context, "store" | "now">, registry: Registry): void {
  const current = () => store.get<stack.Stack>(keys.stack)?.value;

  mount(stack.getStack, () => {
    const found = current();
    if (found === undefined)
      throw new Fault(
        "not-found",
        "this cluster has no stack to build with yet; who runs the appliance makes it there: flynn stack build",
      );
    return found;
  });

  mount(stack.uploadStackImage, async ({ query: { part }, upload, principal, signal, idempotentFor }) => {
    if (upload === undefined || upload === null)
      throw new Fault("invalid", "send the archive as the body, content-type application/x-tar");
    const { digest } = await registry.push(upload, repositoryOf(part), signal);
    const image: stack.StackImage = { repository: repositoryOf(part), digest };
    // Only what came in this way may become the stack: a digest that the registry lacks would fail every build.
    const former = store.get<stack.StackImage>(keys.stackUpload(part))?.value;
    const mutations = [{ key: keys.stackUpload(part), value: image }, ...buried(former, digest, now())];
    await store.commit({ actor: principal.name, ...idempotentFor(digest), mutations });
    return image;
  });

  mount(stack.setStack, async ({ body, principal, idempotent }) => {
    const before = current();
    for (const part of PARTS) {
      const known = [store.get<stack.StackImage>(keys.stackUpload(part))?.value.digest, before?.[part].digest];
      if (!known.includes(body[part]))
        throw new Fault("invalid", `${body[part]} is not the ${part} image uploaded last; upload it first`);
    }
    const next = nextStack(before, body, now());
    await store.commit({
      actor: principal.name,
      ...idempotent,
      mutations: [
        { key: keys.stack, value: next },
        ...PARTS.flatMap((part) => buried(before?.[part], body[part], now())),
        ...eventChanges(store, now(), {
          type: "stack",
          subject: next.name,
          message: `builds use the stack ${next.name} from now on`,
          actor: principal.name,
        }),
      ],
    });
    return next;
  });
}

/** An image that another takes the place of leaves the registry once nothing uses it; layers that apps' images hold stay. */
function buried(former: stack.StackImage | undefined, next: string, at: Date): Change[] {
  if (former === undefined || former.digest === next) return [];
  const { repository, digest } = former;
  const value: DeadImage = { repository, digest, diedAt: at.toISOString() };
  return [{ key: keys.deadImage(`stack-${digest.slice("sha256:".length)}`), value }];
}

/** The stack with its two images changed; those that no build takes any more are noted. */
export function nextStack(
  before: stack.Stack | undefined,
  requested: { name: string; builder: string; runner: string },
  at: Date,
): stack.Stack {
  const left = PARTS.flatMap((part) =>
    before === undefined || before[part].digest === requested[part]
      ? []
      : [{ part, digest: before[part].digest, at: at.toISOString() }],
  );
  const inUse = new Set([requested.builder, requested.runner]);
  const superseded = [...left, ...(before?.superseded ?? [])].filter(({ digest }) => !inUse.has(digest));
  return {
    name: requested.name,
    builder: { repository: repositoryOf("builder"), digest: requested.builder },
    runner: { repository: repositoryOf("runner"), digest: requested.runner },
    createdAt: at.toISOString(),
    superseded: superseded.slice(0, SUPERSEDED_KEPT),
  };
}
