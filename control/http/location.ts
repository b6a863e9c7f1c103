// Where what a request made can be read: an endpoint's `location`, filled in.
import type { Endpoint } from "#api/endpoint.ts";

export function locationOf({ location }: Endpoint, params: unknown, reply: unknown): string | undefined {
  const text = (of: unknown, name: string) => encodeURIComponent(String((of as Record<string, unknown>)[name]));
  return location
    ?.replace(/:([a-zA-Z]+)/g, (_, name: string) => text(params, name))
    .replace(/\{([a-zA-Z]+)\}/g, (_, name: string) => text(reply, name));
}
