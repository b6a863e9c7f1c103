// Who may call what: one row per endpoint, written by hand from what people want and never from the endpoint itself. A new
// endpoint gets a row here; `permissions.test.ts` tries every caller on every row over the real API.

/** Scopes a token can have. The admin token has all of them. */
export const SCOPES = [
  "cluster:read",
  "cluster:write",
  "machine:read",
  "machine:write",
  "app:read",
  "app:write",
] as const;

/** The programs that join, each with a certificate of its own. */
export const MEMBERS = ["host", "router", "boot server"] as const;

/**
 * Who may, in the words of the rows. `anyone`: without a token too, but a token or certificate that is shown must be good.
 * A member (host, router, boot server): that member, by its certificate, for its own `:id`; neither another member nor the admin.
 * A scope: tokens that have it, the admin's among them, and no member.
 */
export type Who = "anyone" | "any member" | (typeof MEMBERS)[number] | (typeof SCOPES)[number];

export const WHO_MAY: Record<string, Who> = {
  "GET /healthz": "anyone",
  "GET /v1/openapi.json": "anyone",
  "GET /v1/status": "cluster:read",
  "GET /v1/events": "cluster:read",
  "GET /v1/alerts": "cluster:read",
  "GET /v1/alerts/:id": "cluster:read",
  "PUT /v1/quarantine": "cluster:write",

  // Joining proves itself by the join token in the body, renewing by the certificate that is renewed.
  "POST /v1/hosts/join": "anyone",
  "POST /v1/join-tokens": "cluster:write",
  "GET /v1/tokens": "cluster:read",
  "GET /v1/tokens/:id": "cluster:read",
  "POST /v1/tokens": "cluster:write",
  "DELETE /v1/tokens/:id": "cluster:write",
  "POST /v1/members/:id/renew": "any member",

  "GET /v1/machines": "machine:read",
  "GET /v1/machines/:id": "machine:read",
  "GET /v1/machines/:id/explain": "machine:read",
  "GET /v1/machines/:id/timeline": "machine:read",
  "GET /v1/machines/:id/disks": "machine:read",
  "POST /v1/machines/:id/wipe": "machine:write",
  "DELETE /v1/machines/:id/wipe": "machine:write",
  "POST /v1/machines/:id/approve": "machine:write",
  "POST /v1/machines/:id/reject": "machine:write",
  "POST /v1/machines/:id/adopt": "machine:write",
  "PATCH /v1/machines/:id": "machine:write",
  "DELETE /v1/machines/:id": "machine:write",

  "GET /v1/boot-images": "machine:read",
  "GET /v1/boot-images/:id": "machine:read",
  "POST /v1/boot-images": "machine:write",
  "POST /v1/boot-images/:id/rollout": "machine:write",
  "GET /v1/profiles": "machine:read",
  "GET /v1/profiles/:name": "machine:read",
  "PUT /v1/profiles/:name": "machine:write",
  "DELETE /v1/profiles/:name": "machine:write",
  "GET /v1/boot-servers/:id/target": "boot server",
  "POST /v1/boot-servers/:id/events": "boot server",

  "GET /v1/hosts": "cluster:read",
  "GET /v1/hosts/:id": "cluster:read",
  "PATCH /v1/hosts/:id": "cluster:write",
  "DELETE /v1/hosts/:id": "cluster:write",
  "POST /v1/hosts/:id/cordon": "cluster:write",
  "POST /v1/hosts/:id/uncordon": "cluster:write",
  "POST /v1/hosts/:id/drain": "cluster:write",
  "GET /v1/hosts/:id/target": "host",
  "POST /v1/hosts/:id/report": "host",
  "POST /v1/hosts/:id/beat": "host",
  "PUT /v1/hosts/:id/disks": "host",
  "GET /v1/hosts/:id/builds/:build/source": "host",
  "POST /v1/hosts/:id/builds/:build/log": "host",
  "POST /v1/hosts/:id/builds/:build/slug": "host",
  "POST /v1/hosts/:id/builds/:build/image": "host",
  "POST /v1/hosts/:id/builds/:build/result": "host",

  "GET /v1/apps": "app:read",
  "POST /v1/apps": "app:write",
  "GET /v1/apps/:app": "app:read",
  "PATCH /v1/apps/:app": "app:write",
  "DELETE /v1/apps/:app": "app:write",
  "GET /v1/apps/:app/env": "app:write", // values are secrets: who only reads does not see them
  "PATCH /v1/apps/:app/env": "app:write",
  "GET /v1/apps/:app/formation": "app:read",
  "PATCH /v1/apps/:app/formation": "app:write",
  "GET /v1/apps/:app/releases": "app:read",
  "POST /v1/apps/:app/releases": "app:write",
  "GET /v1/apps/:app/releases/:id": "app:read",
  "GET /v1/apps/:app/pages": "app:read",
  "PATCH /v1/apps/:app/pages": "app:write",
  "GET /v1/apps/:app/log": "app:read",
  "GET /v1/apps/:app/git": "app:read",
  "GET /v1/keys": "app:read",
  "POST /v1/keys": "app:write",
  "GET /v1/keys/:id": "app:read",
  "DELETE /v1/keys/:id": "app:write",

  "POST /v1/artifacts": "app:write",
  "GET /v1/artifacts/:id": "app:read",
  "GET /v1/apps/:app/builds": "app:read",
  "POST /v1/apps/:app/builds": "app:write",
  "GET /v1/apps/:app/builds/:id": "app:read",
  "GET /v1/apps/:app/builds/:id/log": "app:read",
  "POST /v1/apps/:app/builds/:id/cancel": "app:write",
  "DELETE /v1/apps/:app/build-cache": "app:write",
  "GET /v1/stack": "cluster:read",
  "PUT /v1/stack": "cluster:write",
  "POST /v1/stack/images": "cluster:write",

  "GET /v1/apps/:app/deployments": "app:read",
  "POST /v1/apps/:app/deployments": "app:write",
  "GET /v1/apps/:app/deployments/:id": "app:read",
  "POST /v1/apps/:app/deployments/:id/cancel": "app:write",
  "POST /v1/apps/:app/rollback": "app:write",
  "POST /v1/apps/:app/redeploy": "app:write",

  "GET /v1/apps/:app/jobs": "app:read",
  "POST /v1/apps/:app/jobs": "app:write",
  "GET /v1/jobs/:id": "app:read",
  "GET /v1/jobs/:id/explain": "app:read",
  "POST /v1/jobs/:id/stop": "app:write",
  "POST /v1/jobs/:id/signal": "app:write",
  "POST /v1/jobs/:id/sessions": "app:write",
  "GET /v1/jobs/:id/attach": "app:write",
  "GET /v1/jobs/:id/exec": "app:write",
  "GET /v1/jobs/:id/forward": "app:write",

  // An app's drain is its team's; one for the whole cluster hears every app.
  "GET /v1/apps/:app/log-drains": "app:read",
  "POST /v1/apps/:app/log-drains": "app:write",
  "GET /v1/apps/:app/log-drains/:id": "app:read",
  "DELETE /v1/apps/:app/log-drains/:id": "app:write",
  "GET /v1/log-drains": "cluster:read",
  "POST /v1/log-drains": "cluster:write",
  "GET /v1/log-drains/:id": "cluster:read",
  "DELETE /v1/log-drains/:id": "cluster:write",

  "GET /v1/routes": "app:read",
  "POST /v1/routes": "app:write",
  "GET /v1/routes/:id": "app:read",
  "PATCH /v1/routes/:id": "app:write",
  "DELETE /v1/routes/:id": "app:write",
  // Whoever makes rules sees when the hosts have taken them in; nothing else of a host is shown there.
  "GET /v1/network": "app:read",
  "GET /v1/network/hosts": "app:read",
  "GET /v1/network-rules": "app:read",
  "POST /v1/network-rules": "app:write",
  "GET /v1/network-rules/:id": "app:read",
  "DELETE /v1/network-rules/:id": "app:write",
  "GET /v1/certificates": "app:read",
  "POST /v1/certificates": "app:write",
  "GET /v1/certificates/:id": "app:read",
  "PATCH /v1/certificates/:id": "app:write",
  "DELETE /v1/certificates/:id": "app:write",
  "GET /v1/services": "app:read",
  "POST /v1/services": "app:write",
  "GET /v1/services/:name": "app:read",
  "PATCH /v1/services/:name": "app:write",
  "DELETE /v1/services/:name": "app:write",
  "GET /v1/services/:name/log": "app:read",

  "GET /v1/routers": "cluster:read",
  "GET /v1/routers/:id": "cluster:read",
  "DELETE /v1/routers/:id": "cluster:write",
  "GET /v1/routers/:id/target": "router",
  "POST /v1/routers/:id/report": "router",
  "POST /v1/routers/:id/log": "router",
};
