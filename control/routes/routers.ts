// The routers' side of the contract: their target and their acknowledgements.
import { isIPv4 } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { Fault } from "#api/fault.ts";
import { keysDigest } from "#api/keys-digest.ts";
import {
  type RouterReport,
  type RouterTarget,
  type RouterTargetPart,
  reportRouter,
  routerTarget,
} from "#api/router-agents.ts";
import { deleteRouter } from "#api/routes.ts";
import type { StreamEvent } from "#api/stream.ts";
import { VERSION } from "#lib/version.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { MemberRecord } from "../records.ts";
import { inParts } from "../routing/target-parts.ts";
import type { Have, Routing } from "../targets/generation.ts";

/** What readers of streams take at most as one event (api/stream.ts), with room for what is estimated here. */
const EVENT_MOST_BYTES = 30 << 20;

export function mountRouters(mount: Mount, { store, presence, now }: Context, routing: Routing): void {
  mount(
    routerTarget,
    () => routing.settled(),
    ({ signal, query }) => {
      if (query.parts === true) return followed(routing, parseHave(query.have), signal);
      return wholeTargets(routing, signal); // to a router of an earlier build
    },
  );
  mount(deleteRouter, async ({ params, principal, ifMatch }) => {
    const entry = store.get<MemberRecord>(keys.router(params.id));
    if (entry === undefined) throw new Fault("not-found", `no router ${params.id}`);
    const { key, version, value } = entry;
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        ...eventChanges(store, now(), {
          type: "router.removed",
          subject: params.id,
          actor: principal.name,
          message: `router ${value.name} was removed`,
        }),
      ],
    });
    presence.forget(params.id);
    return {};
  });
  /** Kept, so that hosts go on letting the routers in after a restart of control. */
  const keepAddresses = async (
    id: string,
    { address, localAddresses, ports }: RouterReport,
    remoteAddress: string,
  ): Promise<void> => {
    const entry = store.get<MemberRecord>(keys.router(id));
    if (entry === undefined) return;
    const seen = remoteAddress.replace(/^::ffff:/, "");
    const addresses = [...new Set([address, seen])].filter(
      (one) => one !== undefined && isIPv4(one) && !/^127\./.test(one),
    );
    const next = {
      ...entry.value,
      ...(addresses.length === 0 ? {} : { addresses: addresses.sort() }),
      ...(localAddresses === undefined ? {} : { localAddresses }),
      ...(ports === undefined ? {} : { ports }),
    };
    if (isDeepStrictEqual(next, entry.value)) return;
    const { key, version, value } = entry;
    await store.commit({
      actor: `router ${value.name}`,
      expect: [{ key, version }],
      mutations: [{ key, value: next }],
    });
  };
  mount(reportRouter, async ({ params, body, remoteAddress }) => {
    if (body.term > store.term)
      throw new Fault(
        "conflict",
        `router has seen term ${body.term}, this control is at ${store.term}: it is an old one`,
      );
    presence.routerSeen(params.id, body);
    await keepAddresses(params.id, body, remoteAddress);
    return { term: store.term };
  });
}

const newTargets = (routing: Routing, signal: AbortSignal) =>
  stateFeed({
    subscribe: (wake) => routing.onChange(wake),
    build: () => routing.settled(),
    sameness: ({ generation, term }) => `${term} ${generation}`,
    id: ({ generation }) => String(generation),
    signal,
  });

/** Each target as differences from the one sent before, or from what the router has; all of it where that is not known. */
async function* followed(
  routing: Routing,
  have: HaveKeys | undefined,
  signal: AbortSignal,
): AsyncGenerator<StreamEvent<RouterTargetPart>> {
  const { certificates = [] } = await routing.settled();
  const areSame = have !== undefined && have.keys !== "" && have.keys === keysDigest(certificates);
  const sent = new Map<string, string>(areSame ? certificates.map(({ id, pem }) => [id, pem]) : []);
  let last: Have | undefined = have;
  const feed = newTargets(routing, signal);
  const differences = async function* (): AsyncGenerator<StreamEvent<RouterTarget | RouterTargetPart>> {
    for await (const { data, ...event } of feed) {
      if (data === undefined) {
        yield event;
        continue;
      }
      // Of what was sent whole and is not of the newest generation any more, the rest follows with the next one.
      const difference = last === undefined ? undefined : routing.since(last);
      const { term, generation } = difference ?? data;
      if (have !== undefined) last = { term, generation };
      yield { ...event, id: String(generation), data: difference ?? data };
    }
  };
  yield* inParts(differences(), sent);
}

/** Parts were not known then: one event, which may not be larger than its reader takes. */
async function* wholeTargets(routing: Routing, signal: AbortSignal): AsyncGenerator<StreamEvent<RouterTarget>> {
  for await (const event of newTargets(routing, signal)) {
    if (event.data !== undefined && sizeOf(event.data) > EVENT_MOST_BYTES)
      throw new Fault(
        "too-large",
        `what routers serve is over ${EVENT_MOST_BYTES >> 20} MiB, and this router is of a build that takes it in one piece: start the router of ${VERSION}; on the appliance \`flynn up\` does`,
        { retry: true },
      );
    yield event;
  }
}

const sizeOf = ({ pools, routes, certificates = [] }: RouterTarget): number =>
  pools.reduce(
    (sum, { backends, maintenance = "", errorPage = "" }) =>
      sum + 100 + 100 * backends.length + maintenance.length + errorPage.length,
    0,
  ) +
  routes.length * 100 +
  certificates.reduce((sum, { pem }) => sum + pem.length, 0);

interface HaveKeys extends Have {
  keys: string;
}

function parseHave(text: string | undefined): HaveKeys | undefined {
  if (text === undefined) return undefined;
  const [term, generation, keys = ""] = text.split(":");
  return { term: Number(term), generation: Number(generation), keys };
}
