// What visitors see in an app's place: the maintenance page while it is on, and an error page of the app's own.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { PAGE_BYTES } from "./router-agents.ts";
import { AppParams, nullable, object, Time } from "./schema.ts";

const Html = Type.String({
  minLength: 1,
  maxLength: PAGE_BYTES,
  pattern: "^[^\\u0000]*$",
  description:
    "HTML, at most 10 KiB with characters beyond ASCII counted as &#NNNN;. Shown in a sandbox: styles and images inside the page work, scripts, forms and outside files do not.",
});

export const AppPages = object({
  maintenance: Type.Boolean(),
  since: Type.Optional(Time),
  message: Type.Optional(
    Type.String({ maxLength: 500, description: "Shown on the page that is used without one of the app's own." }),
  ),
  page: Type.Optional(Html),
  errorPage: Type.Optional(Html),
});
export type AppPages = Static<typeof AppPages>;

export const getPages = endpoint({
  id: "getPages",
  method: "GET",
  path: "/v1/apps/:app/pages",
  summary: "Show whether maintenance is on, and the app's pages",
  permission: "app:read",
  versioned: true,
  params: AppParams,
  reply: AppPages,
});
export const updatePages = endpoint({
  id: "updatePages",
  method: "PATCH",
  path: "/v1/apps/:app/pages",
  summary: "Turn maintenance on or off (503 with Retry-After instead of the app), or set the pages; null removes",
  permission: "app:write",
  versioned: true,
  conditional: true,
  params: AppParams,
  body: object({
    maintenance: Type.Optional(Type.Boolean()),
    message: Type.Optional(nullable(Type.String({ maxLength: 500 }))),
    page: Type.Optional(nullable(Html)),
    errorPage: Type.Optional(
      nullable(
        Type.Unsafe<string>({ ...Html, description: "HTML for 502, 503 and 504 when no job answers. The same rules." }),
      ),
    ),
  }),
  reply: AppPages,
});
