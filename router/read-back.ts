// What HAProxy runs, read back through a socket: all of it, or the part that may have changed.
import { join } from "node:path";
import { CERTIFICATE_LIST } from "./certificates.ts";
import { MAP_NAMES, type Maps, mapFile } from "./maps.ts";
import { ask, askAll } from "./runtime.ts";
import type { Scope } from "./scope.ts";
import { inSlices } from "./slices.ts";
import {
  mapEntries,
  parseCertificateList,
  parseLookup,
  parseServersState,
  type Running,
  serversState,
} from "./verify.ts";

/** `prefix`: which worker answers, where the socket is the master's. */
export interface ReadBack {
  all(socket: string, prefix?: string): Promise<Running>;
  /** Brings `into` up to date: there is much beside what is in the scope. */
  within(scope: Scope, into: Running, socket: string, prefix?: string): Promise<Running>;
}

export function readBack(directory: string, hasHttps: boolean): ReadBack {
  const maps = MAP_NAMES.map((name) => ({ name, file: join(directory, mapFile(name)) }));
  const listCommand = (prefix: string) => `${prefix}show ssl crt-list ${join(directory, CERTIFICATE_LIST)}`;
  return {
    async all(socket, prefix = "") {
      const [state, list, ...texts] = await Promise.all([
        ask(socket, `${prefix}show servers state`),
        hasHttps ? ask(socket, listCommand(prefix)) : undefined,
        ...maps.map(({ file }) => ask(socket, `${prefix}show map ${file}`)),
      ]);
      const found: Partial<Maps> = {};
      for (const [n, { name }] of maps.entries()) found[name] = await inSlices(mapEntries(texts[n]!));
      return {
        slots: await inSlices(serversState(state)),
        maps: found as Maps,
        certificates: list === undefined ? new Map() : parseCertificateList(list),
      };
    },
    async within(scope, into, socket, prefix = "") {
      for (const backend of scope.backends.keys()) {
        const state = await ask(socket, `${prefix}show servers state ${backend}`);
        if (state.startsWith("Can't find backend")) continue; // an older worker has fewer
        for (const [name, slot] of parseServersState(state)) into.slots.set(name, slot);
      }
      for (const { name, file } of maps) {
        const keys = [...scope.keys[name]];
        const replies = await askAll(
          socket,
          keys.map((key) => `get map ${file} ${key}`),
          prefix,
        );
        for (const [n, key] of keys.entries()) {
          const value = parseLookup(replies[n]!, key);
          if (value === undefined) into.maps[name].delete(key);
          else into.maps[name].set(key, value);
        }
      }
      if (scope.certificates && hasHttps)
        into.certificates = parseCertificateList(await ask(socket, listCommand(prefix)));
      return into;
    },
  };
}
