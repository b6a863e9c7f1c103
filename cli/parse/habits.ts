// Words that people bring from Heroku, Flynn of old, Fly and others: what they do here. Data; test/cli/habits.test.ts tries each.

/** Where a word is from. */
export type Platform = "heroku" | "flynn" | "fly" | "others";

export interface Habit {
  /** With spaces; people may write them with colons. */
  words: string;
  from: readonly Platform[];
  /** The same here: these words of ours (flags too) stand in its place, and what follows stays. */
  as?: string;
  /** Only when nothing follows: longer, it begins commands of ours. */
  alone?: true;
  /** Flags of that word that are spelled otherwise here. */
  flags?: Readonly<Record<string, string>>;
  /** Not the same here: what there is instead, and a line that works when pasted. */
  instead?: string;
  example?: string;
}

const LOG_FLAGS = {
  "--tail": "--follow",
  "--num": "--lines",
  "--ps": "--type",
  "--dyno": "--job",
  "--dyno-name": "--job",
};
const LOGIN = {
  instead: "a cluster is added once, with its pin and a token (`flynn up` prints both at its first start)",
  example: "flynn cluster add prod https://10.77.0.1:7777 --pin PIN",
};
const DATABASE = {
  instead:
    "databases are no part of this yet: run one as an app of its own, or give an outside one's address to the app",
  example: "flynn env set DATABASE_URL=postgres://user:secret@db.example.com/blog",
};
const NO_VOLUMES = {
  instead: "apps have no volumes yet: what a job writes goes with it; how much it may write is a limit",
  example: "flynn limit set web disk=8GB",
};

const REGIONS = {
  instead: "there are no regions: a cluster is in one place, and tags of its hosts say where jobs run",
  example: "flynn scale web=3,zone=a",
};
const ADDRESSES = {
  instead: "apps have no addresses of their own: routers serve all of them, by name",
  example: "flynn router list",
};

export const HABITS: readonly Habit[] = [
  // Apps.
  { words: "apps create", from: ["heroku", "fly"], as: "create" },
  { words: "apps destroy", from: ["heroku", "fly"], as: "delete" },
  { words: "apps delete", from: ["heroku"], as: "delete" },
  { words: "apps info", from: ["heroku"], as: "info" },
  { words: "apps list", from: ["fly", "others"], as: "apps" },
  { words: "apps open", from: ["heroku", "fly"], as: "open" },
  { words: "list", from: ["others"], as: "apps" },
  { words: "destroy", from: ["heroku", "others"], as: "delete" },
  {
    words: "apps rename",
    from: ["heroku"],
    instead: "an app keeps its name; make one of the other name and push to it",
    example: "flynn create new-name",
  },
  {
    words: "rename",
    from: ["heroku"],
    instead: "an app keeps its name; make one of the other name and push to it",
    example: "flynn create new-name",
  },
  {
    words: "launch",
    from: ["fly"],
    instead: "an app is made, then deployed",
    example: "flynn create blog",
  },
  // Releases and deploying.
  { words: "release", from: ["flynn"], alone: true, as: "releases" },
  { words: "release list", from: ["flynn"], as: "releases" },
  { words: "releases list", from: ["fly"], as: "releases" },
  { words: "releases info", from: ["heroku"], as: "release show" },
  { words: "releases rollback", from: ["heroku"], as: "rollback" },
  { words: "release rollback", from: ["flynn"], as: "rollback" },
  { words: "deployment", from: ["flynn"], alone: true, as: "deployment list" },
  { words: "builds", from: ["heroku", "fly"], as: "build list" },
  { words: "builds info", from: ["heroku"], as: "build show" },
  { words: "builds output", from: ["heroku"], as: "build log" },
  { words: "builds cancel", from: ["heroku"], as: "build cancel" },
  {
    words: "docker push",
    from: ["flynn"],
    instead: "an image of the local Docker is deployed by its name",
    example: "flynn deploy --image blog:latest",
  },
  {
    words: "container push",
    from: ["heroku"],
    instead: "an image of the local Docker is deployed by its name",
    example: "flynn deploy --image blog:latest",
  },
  {
    words: "push",
    from: ["others"],
    instead: "apps are pushed with git, or deployed without it",
    example: "flynn deploy .",
  },
  {
    words: "pull",
    from: ["others"],
    instead: "an app's repository is cloned with git, from the address of its remote",
    example: "flynn remote add",
  },
  {
    words: "buildpacks set",
    from: ["heroku"],
    instead: "buildpacks are a build setting",
    example: "flynn build set buildpacks=nodejs",
  },
  { words: "buildpacks", from: ["heroku"], as: "build settings" },
  {
    words: "pipelines promote",
    from: ["heroku"],
    instead: "there are no pipelines: the image that was tried is deployed to the next app",
    example: "flynn -a blog-production deploy --image blog:latest",
  },
  // Configuration.
  { words: "config", from: ["heroku"], as: "env" },
  { words: "config get", from: ["heroku"], as: "env get" },
  { words: "config set", from: ["heroku"], as: "env set" },
  { words: "config unset", from: ["heroku"], as: "env unset" },
  { words: "config edit", from: ["heroku"], as: "env edit" },
  { words: "secrets", from: ["fly"], as: "env --names" },
  { words: "secrets list", from: ["fly"], as: "env --names" },
  { words: "secrets set", from: ["fly"], as: "env set" },
  { words: "secrets unset", from: ["fly"], as: "env unset" },
  { words: "secrets import", from: ["fly"], as: "env set -" },
  {
    words: "export",
    from: ["flynn", "others"],
    instead: "variables are printed as a file that is read back; the whole state is backed up on the appliance",
    example: "flynn env --shell",
  },
  // Processes.
  { words: "ps scale", from: ["heroku"], as: "scale" },
  { words: "dyno scale", from: ["heroku"], as: "scale" },
  { words: "scale show", from: ["fly"], as: "scale" },
  {
    words: "scale count",
    from: ["fly"],
    instead: "jobs are counted by process",
    example: "flynn scale web=3",
  },
  {
    words: "scale memory",
    from: ["fly"],
    instead: "memory is a limit of a process",
    example: "flynn limit set web memory=512MB",
  },
  {
    words: "scale vm",
    from: ["fly"],
    instead: "memory and CPU are limits of a process",
    example: "flynn limit set web memory=1GB cpu=0.5",
  },
  { words: "ps restart", from: ["heroku", "others"], as: "restart" },
  { words: "dyno restart", from: ["heroku"], as: "restart" },
  { words: "apps restart", from: ["fly"], as: "restart" },
  { words: "ps stop", from: ["heroku"], as: "kill" },
  { words: "dyno kill", from: ["heroku"], as: "kill" },
  {
    words: "ps exec",
    from: ["heroku"],
    instead: "the job and the command are named",
    example: "flynn exec web.1 sh",
  },
  { words: "ps type", from: ["heroku"], as: "limit" },
  { words: "run detached", from: ["heroku"], as: "run --detach" },
  {
    words: "ssh console",
    from: ["fly"],
    instead: "a shell in a running job is named with it",
    example: "flynn exec web.1 sh",
  },
  {
    words: "ssh",
    from: ["fly", "others"],
    instead: "a shell in a running job is named with it",
    example: "flynn exec web.1 sh",
  },
  { words: "enter", from: ["others"], as: "exec" },
  { words: "console", from: ["fly"], instead: "a shell is a command like others", example: "flynn run bash" },
  { words: "proxy", from: ["fly"], as: "ps forward" },
  { words: "logs", from: ["heroku", "fly", "others"], as: "log", flags: LOG_FLAGS },
  // Routes.
  { words: "domains", from: ["heroku"], as: "route list" },
  { words: "domains add", from: ["heroku", "others"], as: "route add http" },
  { words: "domains remove", from: ["heroku", "others"], as: "route remove" },
  { words: "route", from: ["flynn"], alone: true, as: "route list" },
  { words: "certs", from: ["heroku"], as: "cert list" },
  { words: "certs list", from: ["fly"], as: "cert list" },
  { words: "certs remove", from: ["heroku", "fly"], as: "cert remove" },
  {
    words: "certs add",
    from: ["heroku", "fly"],
    instead: "a certificate is given as its two files",
    example: "flynn cert add --cert chain.pem --key key.pem",
  },
  { words: "ips", from: ["fly"], ...ADDRESSES },
  { words: "ips list", from: ["fly"], ...ADDRESSES },
  { words: "ips allocate", from: ["fly"], ...ADDRESSES },
  // Data.
  { words: "addons create", from: ["heroku"], ...DATABASE },
  { words: "addons", from: ["heroku"], ...DATABASE },
  { words: "resource add", from: ["flynn"], ...DATABASE },
  { words: "resource", from: ["flynn"], ...DATABASE },
  { words: "postgres create", from: ["fly", "others"], ...DATABASE },
  { words: "postgres", from: ["fly", "others"], ...DATABASE },
  {
    words: "pg psql",
    from: ["heroku", "flynn"],
    instead: "a client that is in the app's image runs with the app's variables",
    example: "flynn run sh -c 'psql $DATABASE_URL'",
  },
  {
    words: "pg",
    from: ["heroku", "flynn"],
    instead: "a client that is in the app's image runs with the app's variables",
    example: "flynn run sh -c 'psql $DATABASE_URL'",
  },
  { words: "volume list", from: ["flynn"], ...NO_VOLUMES },
  { words: "volume", from: ["flynn"], ...NO_VOLUMES },
  { words: "volumes list", from: ["fly"], ...NO_VOLUMES },
  { words: "volumes", from: ["fly"], ...NO_VOLUMES },
  // Drains, keys, access.
  { words: "drains", from: ["heroku"], as: "log-drain list" },
  { words: "drains add", from: ["heroku"], as: "log-drain add" },
  { words: "drains remove", from: ["heroku"], as: "log-drain remove" },
  { words: "logs drain", from: ["others"], as: "log-drain add" },
  { words: "keys", from: ["heroku"], as: "key list" },
  { words: "keys add", from: ["heroku"], as: "key add" },
  { words: "keys remove", from: ["heroku"], as: "key remove" },
  { words: "git remote", from: ["heroku"], as: "remote add" },
  { words: "tokens", from: ["fly"], as: "token list" },
  { words: "tokens list", from: ["fly"], as: "token list" },
  { words: "tokens create", from: ["fly"], as: "token create" },
  { words: "tokens revoke", from: ["fly"], as: "token revoke" },
  {
    words: "access add",
    from: ["heroku"],
    instead: "another person gets a token of their own, with the rights that you name",
    example: "flynn token create ann --permissions app:read,app:write",
  },
  { words: "access", from: ["heroku"], as: "token list" },
  { words: "login", from: ["heroku"], ...LOGIN },
  { words: "auth login", from: ["heroku", "fly"], ...LOGIN },
  {
    words: "auth whoami",
    from: ["heroku", "fly"],
    instead: "who you are is the token that a cluster was added with",
    example: "flynn cluster list",
  },
  {
    words: "whoami",
    from: ["others"],
    instead: "who you are is the token that a cluster was added with",
    example: "flynn cluster list",
  },
  {
    words: "logout",
    from: ["heroku"],
    instead: "a cluster and its token are forgotten by name",
    example: "flynn cluster remove prod",
  },
  { words: "cluster", from: ["flynn"], alone: true, as: "cluster list" },
  // The appliance.
  { words: "regions", from: ["heroku", "fly"], ...REGIONS },
  { words: "regions list", from: ["fly"], ...REGIONS },
  { words: "platform regions", from: ["fly"], ...REGIONS },
  {
    words: "update",
    from: ["heroku", "flynn", "others"],
    instead:
      "this command does not update itself: in a clone it is the clone's (git pull, npm install), the package of it is installed anew; what is here is said by",
    example: "flynn version",
  },
  {
    words: "backup",
    from: ["others"],
    instead: "the appliance's state is backed up there",
    example: "flynn cluster backup /mnt/b.bak",
  },
  {
    words: "backups",
    from: ["others"],
    instead: "the appliance's state is backed up there",
    example: "flynn cluster backup /mnt/b.bak",
  },
  {
    words: "restore",
    from: ["others"],
    instead: "the appliance's state is restored there",
    example: "flynn cluster restore /mnt/b.bak",
  },
];
