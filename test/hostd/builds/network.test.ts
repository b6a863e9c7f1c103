import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildChainText } from "../../../hostd/builds/network.ts";

const input = {
  target: {
    clusterRange: "100.64.0.0/16",
    registry: "10.77.0.9:5000",
    peers: [{ hostId: "h2", subnet: "100.64.8.0/24", address: "10.77.0.12" }],
  },
  subnet: "172.30.0.0/16",
  clusterAddresses: ["10.77.0.1"],
  dns: ["10.77.0.1"],
};
const rules = (text: string) => text.split("\n").filter((line) => line.startsWith("-A FLYNN-BUILD "));

test("a build reaches no address of the cluster, no link-local one, not the host, no other build", () => {
  const found = rules(buildChainText(input));
  for (const range of [
    "100.64.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "172.30.0.0/16",
    "10.77.0.12",
    "10.77.0.1",
    "10.77.0.9",
  ])
    assert.ok(found.includes(`-A FLYNN-BUILD -d ${range} -j DROP`), range);
  assert.ok(found.includes("-A FLYNN-BUILD -m addrtype --dst-type LOCAL -j DROP"));
});

test("a foreign source address is dropped before anything is allowed", () => {
  assert.is(rules(buildChainText(input))[0], "-A FLYNN-BUILD ! -s 172.30.0.0/16 -j DROP");
});

test("a name server on a closed address answers names and nothing else", () => {
  const found = rules(buildChainText(input));
  const dns = found.indexOf("-A FLYNN-BUILD -d 10.77.0.1 -p udp --dport 53 -j RETURN");
  assert.ok(dns > 0 && dns < found.indexOf("-A FLYNN-BUILD -d 10.77.0.1 -j DROP"));
  assert.is(found.filter((rule) => rule.endsWith("RETURN")).length, 2);
});

test("the metadata service is no name server", () => {
  const found = rules(buildChainText({ ...input, dns: ["169.254.169.253", "127.0.0.53", "::1", "x"] }));
  assert.is(found.filter((rule) => rule.endsWith("RETURN")).length, 0);
});

test("nothing from outside opens a connection to a build", () => {
  assert.match(
    buildChainText(input),
    /-A FLYNN-BUILD-IN -o flynnb0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP/,
  );
});

test("without an address range there is no rule, and so no build", () => {
  assert.throws(() => buildChainText({ ...input, subnet: "" }));
});

test.run();
