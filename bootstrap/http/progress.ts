// One report of cloud-init's webhook reporter: {name, description, event_type: start|finish, result?}. Its outermost stages
// and every failure are worth a line on the timeline; the rest is not.

export interface Progress {
  message: string;
  level: "info" | "warning";
  detail: Record<string, string>;
}

export function progressOf(body: string): Progress | undefined {
  let report: unknown;
  try {
    report = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof report !== "object" || report === null) return undefined;
  const name = plain((report as Record<string, unknown>)["name"]);
  const kind = plain((report as Record<string, unknown>)["event_type"]);
  const result = plain((report as Record<string, unknown>)["result"]);
  if (!/^[a-z0-9_/.-]{1,80}$/i.test(name) || (kind !== "start" && kind !== "finish")) return undefined;
  const failed = kind === "finish" && result !== "" && result !== "SUCCESS";
  if (!failed && name.includes("/")) return undefined;
  const verb = kind === "start" ? "begins" : failed ? `ended with ${result}` : "is done";
  return {
    message: `cloud-init ${name} ${verb}`,
    level: failed ? "warning" : "info",
    detail: failed
      ? {
          code: "cloud-init-failed",
          name,
          result,
          description: plain((report as Record<string, unknown>)["description"]),
        }
      : { name },
  };
}

function plain(value: unknown): string {
  return typeof value === "string" ? value.replace(/[^\x20-\x7e]/g, "?").slice(0, 200) : "";
}
