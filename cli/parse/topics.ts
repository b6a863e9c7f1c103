// How help is ordered, and a line of each command that works when pasted. Data; test/cli/help.test.ts tries each.
import type { Command } from "./command.ts";

/** Groups of help, in the order people come to them; a command belongs to the group of its first word. */
export const TOPICS: readonly { title: string; words: readonly string[] }[] = [
  { title: "Apps", words: ["create", "apps", "info", "open", "delete", "remote", "key"] },
  { title: "Deploying", words: ["deploy", "redeploy", "releases", "release", "rollback", "deployment", "build"] },
  { title: "Configuring and scaling", words: ["env", "scale", "limit", "restart", "maintenance", "error-page"] },
  { title: "Looking inside", words: ["ps", "log", "log-drain", "run", "exec", "kill", "service"] },
  { title: "Reaching", words: ["route", "cert", "network", "router"] },
  {
    title: "Clusters and who may use them",
    words: ["cluster", "token", "status", "alerts", "alert", "doctor", "version"],
  },
  { title: "Machines and hosts", words: ["machine", "host", "profile", "image", "quarantine"] },
  { title: "The appliance", words: ["up", "down", "stack"] },
];
export const REST = "Others";

/** Of commands that need words after their own and do not say how in their own help. */
const EXAMPLES: Readonly<Record<string, string>> = {
  "alert show": "flynn alert show alert-1n8q5fkabcdefghi",
  "build builder upload": "flynn build builder upload builder.tar",
  "build cache clear": "flynn build cache clear -a blog",
  "build set": "flynn build set kind=dockerfile memory=2GiB",
  "build unset": "flynn build unset memory",
  "cert add": "flynn cert add --cert chain.pem --key key.pem",
  "cert remove": "flynn cert remove blog.example.com",
  "cert show": "flynn cert show blog.example.com",
  "cert update": "flynn cert update blog.example.com --cert chain.pem --key key.pem",
  "cluster add": "flynn cluster add prod https://10.77.0.1:7777 --pin PIN",
  "cluster backup": "flynn cluster backup /mnt/b.bak",
  "cluster remove": "flynn cluster remove prod",
  completion: "flynn completion bash",
  create: "flynn create blog",
  "deploy set": "flynn deploy set strategy=in-batches web.health=/up",
  "deploy unset": "flynn deploy unset web.health",
  "deployment cancel": "flynn deployment cancel deployment-1n8q5fkabcdefghi",
  "deployment show": "flynn deployment show -f deployment-1n8q5fkabcdefghi",
  "env get": "flynn env get DATABASE_URL",
  "env unset": "flynn env unset GREETING",
  "error-page set": "flynn error-page set sorry.html",
  "host cordon": "flynn host cordon node-0145bf",
  "host drain": "flynn host drain node-0145bf",
  "host remove": "flynn host remove node-0145bf",
  "host show": "flynn host show node-0145bf",
  "host tags": "flynn host tags node-0145bf zone=a",
  "host uncordon": "flynn host uncordon node-0145bf",
  "image register": "flynn image register /var/lib/flynn/images/IMAGE",
  "image rollout": "flynn image rollout IMAGE",
  "key remove": "flynn key remove laptop",
  "log-drain add": "flynn log-drain add syslog+tls://logs.example.com:6514",
  "log-drain remove": "flynn log-drain remove drain-1n8q5fkabcdefghi",
  "machine adopt": "flynn machine adopt node-77aa10 node-0145bf",
  "machine approve": "flynn machine approve node-0145bf",
  "machine disks": "flynn machine disks node-0145bf",
  "machine bmc remove": "flynn machine bmc remove node-0145bf",
  "machine bmc set": "flynn machine bmc set node-0145bf --redfish https://10.0.0.9 --user root",
  "machine bmc show": "flynn machine bmc show node-0145bf",
  "machine console": "flynn machine console node-0145bf",
  "machine explain": "flynn machine explain node-0145bf",
  "machine inventory": "flynn machine inventory node-0145bf",
  "machine orders": "flynn machine orders node-0145bf",
  "machine power cycle": "flynn machine power cycle node-0145bf --boot pxe",
  "machine power off": "flynn machine power off node-0145bf",
  "machine power on": "flynn machine power on node-0145bf node-77aa10",
  "machine power status": "flynn machine power status node-0145bf",
  "machine reject": "flynn machine reject node-0145bf",
  "machine show": "flynn machine show node-0145bf",
  "machine timeline": "flynn machine timeline -f node-0145bf",
  "machine wipe": "flynn machine wipe node-0145bf",
  "network allow": "flynn network allow blog db",
  "network remove": "flynn network remove blog db",
  "profile remove": "flynn profile remove gpu",
  "profile render": "flynn profile render default",
  "profile set": "flynn profile set default --disk find-empty",
  "profile show": "flynn profile show default",
  "release show": "flynn release show v3",
  rollback: "flynn rollback v3",
  "route add http": "flynn route add http blog.example.com",
  "route add tcp": "flynn route add tcp -s db",
  "route remove": "flynn route remove blog.example.com",
  "route update": "flynn route update blog.example.com --redirect-https --sticky",
  "router remove": "flynn router remove router-1n8q5fkabcdefghi",
  scale: "flynn scale web=3 worker=1",
  "service remove": "flynn service remove legacy-db",
  "service update": "flynn service update legacy-db 10.20.0.6:5432",
  "service show": "flynn service show blog",
  "token create": "flynn token create ci --expires 90d",
  "token revoke": "flynn token revoke ci",
  up: "flynn up --interface eth0",
};

/** One line of it: from this table, else the first of its own help, else its words, when they are all it needs. */
export function exampleOf({ words, more = "", args = [], tail }: Command): string | undefined {
  if (Object.hasOwn(EXAMPLES, words)) return EXAMPLES[words];
  const [line] = more.split("\n").filter((each) => each.startsWith(`  flynn ${words}`));
  if (line !== undefined) return line.trim().split(/ {2,}/)[0];
  return tail === undefined && !args.some(({ required }) => required) ? `flynn ${words}` : undefined;
}

export const topicOf = (words: string): string =>
  TOPICS.find(({ words: firsts }) => firsts.includes(words.split(" ")[0]!))?.title ?? REST;
