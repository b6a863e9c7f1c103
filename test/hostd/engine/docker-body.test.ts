// Docker's words read and written, by tables: what a wrong one would do is seen only on a busy host.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type DockerContainer,
  isAnonymous,
  networkBody,
  readContainer,
  readDisk,
  specBody,
} from "../../../hostd/engine/docker-body.ts";
import type { ContainerSpec } from "../../../hostd/engine/engine.ts";

const found = (
  state: Partial<DockerContainer["State"]> = {},
  more: Partial<DockerContainer> = {},
): DockerContainer => ({
  Id: "abc",
  Name: "/flynn-j1",
  Config: { Image: "img", Labels: null },
  State: { Status: "running", StartedAt: "2026-01-01T00:00:00Z", ExitCode: 0, OOMKilled: false, Error: "", ...state },
  ...more,
});
const network = (IPAddress: string, IPv4Address?: string) => ({
  NetworkSettings: { Networks: { flynn: { IPAddress, ...(IPv4Address ? { IPAMConfig: { IPv4Address } } : {}) } } },
});

test("every status that is no end is a process that runs", () => {
  const table = [
    ["created", "created"],
    ["running", "running"],
    ["paused", "running"],
    ["restarting", "running"],
    ["removing", "removing"],
    ["exited", "exited"],
    ["dead", "dead"],
  ] as const;
  for (const [Status, status] of table) assert.is(readContainer(found({ Status })).status, status);
});

test("an exit code and lack of memory are told of what has ended, and of nothing else", () => {
  for (const Status of ["exited", "dead"]) {
    const { exitCode, oomKilled } = readContainer(found({ Status, ExitCode: 137, OOMKilled: true }));
    assert.equal([exitCode, oomKilled], [137, true], Status);
  }
  for (const Status of ["running", "created"])
    assert.not("exitCode" in readContainer(found({ Status, ExitCode: 0 })), Status);
});

test("one that never started has no time of start, and the address it was made for", () => {
  const created = readContainer(
    found(
      { Status: "created", StartedAt: "0001-01-01T00:00:00Z", Error: "no such program" },
      network("", "100.64.1.7"),
    ),
  );
  assert.equal([created.startedAt, created.address, created.error], [undefined, "100.64.1.7", "no such program"]);
  const running = readContainer(found({}, network("100.64.1.8", "100.64.1.7")));
  assert.equal([running.name, running.startedAt, running.address], ["flynn-j1", "2026-01-01T00:00:00Z", "100.64.1.8"]);
  assert.is(readContainer(found({}, network("", "100.64.1.7"))).address, undefined);
  assert.not("error" in running);
});

test("a container's own directory counts, though its output is kept by nobody: /etc/hosts lies there", () => {
  const layer = { GraphDriver: { Name: "overlay2", Data: { UpperDir: "/d/overlay2/x/diff" } } };
  const paths = (more: Partial<DockerContainer>) => readContainer(found({}, { ...layer, ...more })).disk?.paths;
  const own = ["/d/overlay2/x/diff", "/d/containers/abc"];
  assert.equal(paths({ LogPath: "/d/containers/abc/abc-json.log", HostsPath: "/d/containers/abc/hosts" }), own);
  assert.equal(paths({ LogPath: "", HostnamePath: "/d/containers/abc/hostname" }), own);
  assert.equal(paths({ LogPath: "", HostnamePath: "", HostsPath: "/d/containers/abc/hosts" }), own);
  assert.equal(paths({ ResolvConfPath: "/d/containers/abc/resolv.conf" }), own);
  assert.equal(paths({}), ["/d/overlay2/x/diff"]);
});

const spec = {
  image: "img",
  hostname: "web-1",
  labels: {},
  env: { A: "1", B: "x=y" },
  network: "flynn",
  dns: ["1.1.1.1"],
  memoryBytes: 1024 ** 3,
  cpuMillis: 500,
  pids: 64,
} as unknown as ContainerSpec;
type Body = { Env: string[]; HostConfig: Record<string, unknown> } & Record<string, unknown>;
const body = (over: Partial<ContainerSpec> = {}, has = { init: true, quota: false }) =>
  specBody({ ...spec, ...over }, has) as Body;

test("a container has no right it was not given, no swap, its share of processors, and is started again by nobody but us", () => {
  const { Env, HostConfig } = body();
  assert.equal(Env, ["A=1", "B=x=y"]);
  assert.equal(
    [HostConfig["CapDrop"], HostConfig["SecurityOpt"], HostConfig["RestartPolicy"], HostConfig["Init"]],
    [["ALL"], ["no-new-privileges"], { Name: "no" }, true],
  );
  assert.equal([HostConfig["Memory"], HostConfig["MemorySwap"], HostConfig["PidsLimit"]], [1024 ** 3, 1024 ** 3, 64]);
  assert.not(HostConfig["Privileged"]);
  assert.is(body({}, { init: false, quota: false }).HostConfig["Init"], false);
  for (const [cpuMillis, shares] of [
    [1_000, 1_024],
    [500, 512],
    [1, 2],
  ] as const)
    assert.is(body({ cpuMillis }).HostConfig["CpuShares"], shares);
});

test("a size limit of what a container writes is asked for where the engine can hold it, and nowhere else", () => {
  const size = (quota: boolean, diskBytes?: number) =>
    body(diskBytes === undefined ? {} : { diskBytes }, { init: true, quota }).HostConfig["StorageOpt"];
  assert.equal([size(true, 4_096), size(false, 4_096), size(true)], [{ size: "4096" }, undefined, undefined]);
});

test("what a client is attached to is not kept as a log, and has a terminal only when one was asked for", () => {
  const log = (of: Body) => (of.HostConfig["LogConfig"] as { Type: string }).Type;
  assert.equal([log(body()), "OpenStdin" in body(), "Tty" in body()], ["local", false, false]);
  const plain = body({ interactive: { tty: false } });
  assert.equal([log(plain), plain["OpenStdin"], plain["StdinOnce"], "Tty" in plain], ["none", true, true, false]);
  assert.is(body({ interactive: { tty: true } })["Tty"], true);
});

test("a container is its whole body, and what was not asked for is not in it", () => {
  const whole = {
    Image: "img",
    Hostname: "web-1",
    Labels: {},
    Env: ["A=1", "B=x=y"],
    HostConfig: {
      NetworkMode: "flynn",
      Dns: ["1.1.1.1"],
      Memory: 1024 ** 3,
      MemorySwap: 1024 ** 3,
      CpuShares: 512,
      PidsLimit: 64,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Init: true,
      RestartPolicy: { Name: "no" },
      LogConfig: { Type: "local", Config: { "max-size": "10m", "max-file": "2", compress: "false" } },
    },
  };
  assert.equal(body(), whole as never);
  const address = "100.64.1.9";
  const full = body({ command: ["a"], entrypoint: ["e"], macAddress: "02:00:00:00:00:01", address });
  assert.equal(full, {
    ...whole,
    Cmd: ["a"],
    Entrypoint: ["e"],
    MacAddress: "02:00:00:00:00:01",
    NetworkingConfig: { EndpointsConfig: { flynn: { IPAMConfig: { IPv4Address: address } } } },
  } as never);
  const attached = body({ interactive: { tty: true } });
  assert.equal(attached, {
    ...whole,
    ...{ OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true },
    HostConfig: { ...whole.HostConfig, LogConfig: { Type: "none" } },
  } as never);
});

test("the jobs' network is a bridge with its subnet that hides no sender", () => {
  assert.equal(
    networkBody({ name: "flynn", bridge: "flynn0", subnet: "100.64.1.0/24", gateway: "100.64.1.1" } as never),
    {
      Name: "flynn",
      Driver: "bridge",
      CheckDuplicate: true,
      IPAM: { Config: [{ Subnet: "100.64.1.0/24", Gateway: "100.64.1.1" }] },
      Options: {
        "com.docker.network.bridge.name": "flynn0",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
      },
    },
  );
});

test("of a container's labels ours alone are kept, 256 characters of each", () => {
  const Labels = { "flynn.job": "j1", "flynn.app": "x".repeat(300), "flynn.other": "x", "com.docker": "x" };
  assert.equal(readContainer(found({}, { Config: { Image: "img", Labels } })).labels, {
    "flynn.job": "j1",
    "flynn.app": "x".repeat(256),
  });
  assert.equal(readContainer(found()).labels, {});
});

test("what Docker says of a container is told when it says something", () => {
  const bare = readContainer(found());
  assert.equal(bare, {
    id: "abc",
    name: "flynn-j1",
    status: "running",
    labels: {},
    image: "img",
    startedAt: "2026-01-01T00:00:00Z",
  });
  const Entrypoint = ["/init"];
  const more = readContainer(found({ Pid: 7 }, { Config: { Image: "img", Entrypoint } }));
  assert.equal([more.pid, more.entrypoint], [7, Entrypoint]);
  assert.not.ok("entrypoint" in readContainer(found({ Pid: 0 }, { Config: { Image: "img", Entrypoint: [] } })));
  assert.not.ok("address" in readContainer(found({}, { NetworkSettings: { Networks: null } })));
});

test("where a container writes is its layer, volumes that nobody named, and its own directory; a driver that is silent says nothing", () => {
  const anonymous = "0123456789abcdef".repeat(4);
  const disk = (over: Partial<DockerContainer>) =>
    readDisk(found({}, { GraphDriver: { Name: "overlay2", Data: { UpperDir: "/up" } }, ...over }));
  assert.equal(disk({}), { paths: ["/up"], quota: false });
  assert.equal(disk({ HostConfig: { StorageOpt: { size: "1" } } })!.quota, true);
  for (const HostConfig of [{}, { StorageOpt: null }, { StorageOpt: {} }])
    assert.is(disk({ HostConfig })!.quota, false);
  const Mounts = [
    { Type: "volume", Name: anonymous, Source: "/v1" },
    { Type: "volume", Name: "named", Source: "/v2" },
    { Type: "bind", Name: anonymous, Source: "/v3" },
    { Type: "volume", Source: "/v4" },
  ];
  assert.equal(Mounts.map(isAnonymous), [true, false, false, false]);
  assert.equal(disk({ Mounts, LogPath: "/c/abc/log" }), {
    paths: ["/up", "/v1", "/c/abc"],
    own: "/c/abc",
    quota: false,
  });
  for (const GraphDriver of [undefined, { Name: "x", Data: null }, { Name: "x", Data: { UpperDir: "" } }])
    assert.is(disk({ GraphDriver } as never), undefined);
});

test.run();
