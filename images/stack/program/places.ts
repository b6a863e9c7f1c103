// Where a build finds and leaves things: the contract with the host that runs it (images/README.md), below `/` in the
// builder container and below a folder of their own in tests.
import { join } from "node:path";

export interface Places {
  source: string;
  description: string;
  env: string;
  app: string;
  cache: string;
  slug: string;
  result: string;
  /** Our own buildpacks. */
  buildpacks: string;
  /** Scratch. */
  temporary: string;
}

export function placesBelow(root: string, buildpacks: string, temporary: string): Places {
  return {
    source: join(root, "in/source.tar"),
    description: join(root, "in/build.json"),
    env: join(root, "in/env"),
    app: join(root, "app"),
    cache: join(root, "cache"),
    slug: join(root, "out/slug.tar.gz"),
    result: join(root, "out/result.json"),
    buildpacks,
    temporary,
  };
}
