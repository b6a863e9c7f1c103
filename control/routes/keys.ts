// SSH keys that may push.
import * as api from "#api/keys.ts";
import { type SshKeys, shown } from "../git/ssh-keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";

export function mountKeys(mount: Mount, keys: SshKeys): void {
  mount(api.listKeys, ({ query }) => page(keys.list(), query, ({ value }) => shown(value)));
  mount(api.getKey, ({ params }) => shown(keys.called(params.id)));
  mount(api.addKey, async ({ body, principal, idempotent, earlier }) => {
    const made = await earlier<Parameters<typeof shown>[0]>();
    return shown(made ?? (await keys.add({ ...body, by: principal.name, idempotent })));
  });
  mount(api.removeKey, async ({ params, principal }) => {
    await keys.remove(params.id, principal.name);
    return {};
  });
}
