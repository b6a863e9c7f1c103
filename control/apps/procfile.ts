// The Procfile's rules lie in api/, since the build inside its sandbox reads it by the same ones.
export { type Procfile, parseProcfile } from "#api/procfile.ts";
