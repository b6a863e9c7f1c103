// Access tokens.
import * as api from "#api/tokens.ts";
import type { Tokens } from "../identity/tokens.ts";
import type { Mount } from "../mount.ts";
import { pageOf } from "../paging.ts";

export function mountTokens(mount: Mount, tokens: Tokens): void {
  mount(api.listTokens, ({ query }) => pageOf(tokens.list(), query));
  mount(api.getToken, ({ params }) => tokens.find(params.id));
  mount(api.createToken, ({ body, principal, idempotent }) => tokens.create(body, { principal, idempotent }));
  mount(api.revokeToken, async ({ params, principal }) => {
    await tokens.revoke(params.id, principal);
    return {};
  });
}
