// What to do about a part of the cluster that is not well. Pure.

export interface Complaint {
  where: string;
  level: "info" | "warning" | "error";
  what: string;
  evidence?: string;
  todo: string;
}

const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/^store$/, "look at control's log; if the state is damaged, stop the appliance before anything else writes to it"],
  [/^router/, "look at router.log in the appliance's log directory; apps already routed go on being served by HAProxy"],
  [/^boot server$/, "look at boot-server.log in the appliance's log directory; machines that run are not touched"],
  [/^hosts$/, "flynn host list says which and why; boot a machine, or run apps on the appliance itself (no --no-host)"],
  [
    /^registry$/,
    "look at control.log, registry.log and registry-push.log in the appliance's log directory; what runs goes on",
  ],
  [/^network$/, "flynn network hosts says which; a host with an old agent boots anew with the current image"],
  [
    /^disk$/,
    "free space there: flynn -a APP delete, or a larger disk; the limits are flags of flynn up (--free-floor, --app-git-limit, ...)",
  ],
  [/^scheduler$/, "flynn ps says which jobs wait and why; add hosts, or scale down"],
];

export function partTodo(part: string): string {
  return REMEDIES.find(([name]) => name.test(part))?.[1] ?? "flynn status";
}

export const NO_STACK: Complaint = {
  where: "builds",
  level: "warning",
  what: "the cluster has no stack yet: apps without a Dockerfile or a builder of their own cannot be built",
  todo: "flynn stack build (once, some minutes)",
};
