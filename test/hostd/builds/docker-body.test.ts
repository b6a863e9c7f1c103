// What a build is in Docker's words, whole: what is missing here is missing on the wire, and a build has the host.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildContainerBody, buildNetworkBody, dockerBuildQuery } from "../../../hostd/builds/docker-body.ts";
import type { BuildContainer, DockerBuild } from "../../../hostd/builds/engine.ts";

const limits = { memoryBytes: 1 << 30, cpuMillis: 500, pids: 100 };
const spec = {
  name: "flynn-build-1",
  image: "img",
  labels: { "flynn.build": "b1" },
  command: ["/bin/sh", "-c", "x"],
  volumes: [
    { volume: "v1", path: "/layers" },
    { volume: "v2", path: "/cache" },
  ],
  dns: ["10.0.0.2"],
  limits,
} as unknown as BuildContainer;
const BODY = {
  Image: "img",
  Labels: { "flynn.build": "b1" },
  Entrypoint: [],
  Cmd: ["/bin/sh", "-c", "x"],
  Hostname: "build",
  HostConfig: {
    NetworkMode: "flynn-build",
    Dns: ["10.0.0.2"],
    Memory: 1 << 30,
    MemorySwap: 1 << 30,
    CpuShares: 128,
    CpuPeriod: 100_000,
    CpuQuota: 50_000,
    BlkioWeight: 50,
    PidsLimit: 100,
    CapDrop: ["ALL"],
    SecurityOpt: ["no-new-privileges"],
    OomScoreAdj: 500,
    Init: true,
    Ulimits: [{ Name: "core", Soft: 0, Hard: 0 }],
    RestartPolicy: { Name: "no" },
    LogConfig: { Type: "local", Config: { "max-size": "10m", "max-file": "2", compress: "false" } },
    Mounts: [
      { Type: "volume", Source: "v1", Target: "/layers" },
      { Type: "volume", Source: "v2", Target: "/cache" },
    ],
  },
};

test("a build's container has its limits, no capability, no swap, and is the first to go when memory ends", () => {
  assert.equal(buildContainerBody(spec), BODY);
});

test("its user, variables and network are said when it has its own", () => {
  const own = buildContainerBody({ ...spec, user: "1000:1000", env: { A: "1", B: "x=y" }, network: "none" } as never);
  assert.equal(own, {
    ...BODY,
    User: "1000:1000",
    Env: ["A=1", "B=x=y"],
    HostConfig: { ...BODY.HostConfig, NetworkMode: "none" },
  });
});

test("a build that is given hardly any processor has the least that the kernel takes", () => {
  for (const [cpuMillis, CpuQuota] of [
    [0, 1_000],
    [5, 1_000],
    [10, 1_000],
    [11, 1_100],
    [2_000, 200_000],
  ] as const) {
    const body = buildContainerBody({ ...spec, limits: { ...limits, cpuMillis } }) as typeof BODY;
    assert.is(body.HostConfig.CpuQuota, CpuQuota);
  }
});

test("builds' networks keep containers from one another and know no IPv6; steps of Docker's have one of their own", () => {
  for (const [name, bridge] of [
    ["flynn-build", "flynnb0"],
    ["flynn-build-step", "flynnb1"],
  ] as const)
    assert.equal(buildNetworkBody(name), {
      Name: name,
      Driver: "bridge",
      CheckDuplicate: true,
      EnableIPv6: false,
      Options: {
        "com.docker.network.bridge.name": bridge,
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
      },
    });
});

test("Docker's own build has the same limits, the steps' network, and leaves no container", () => {
  const build = { dockerfile: "D", args: { A: "1" }, labels: { L: "2" }, limits } as unknown as DockerBuild;
  const query = {
    dockerfile: "D",
    buildargs: '{"A":"1"}',
    labels: '{"L":"2"}',
    networkmode: "flynn-build-step",
    memory: String(1 << 30),
    memswap: String(1 << 30),
    cpushares: "128",
    cpuperiod: "100000",
    cpuquota: "50000",
    ulimits: '[{"Name":"core","Soft":0,"Hard":0}]',
    rm: "1",
    forcerm: "1",
  };
  assert.equal(dockerBuildQuery(build), query);
  assert.equal(dockerBuildQuery({ ...build, target: "prod" }), { ...query, target: "prod" });
});

test.run();
