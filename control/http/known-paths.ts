// Which methods a path takes: asked only when a request found no endpoint.
import type { Endpoint } from "#api/endpoint.ts";

export function allowedAt(endpoints: readonly Endpoint[], path: string): string[] {
  const methods = endpoints
    .filter((endpoint) => patternOf(endpoint).test(path))
    .flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  return [...new Set(methods)].sort();
}

const patternOf = ({ path }: Endpoint): RegExp =>
  new RegExp(`^${path.replaceAll(".", "\\.").replace(/:[a-zA-Z]+/g, "[^/]+")}$`);
