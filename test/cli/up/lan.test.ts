// What follows from the DHCP servers that answer on the LAN, for each mode, by table.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { lanVerdict } from "../../../cli/up/lan.ts";

const lan = { interface: "eth1", dhcp: "proxy", dhcpAnyway: false, dhcpRange: "10.0.0.5-10.0.0.9" } as const;
const router = { address: "10.0.0.254", card: "52:54:00:00:00:fe", gives: "10.0.0.77", boots: false };
const proxy = { address: "10.0.0.8", boots: true, file: "pxelinux.0" };

test("beside a server that gives addresses full mode is refused in words, with the way out and the override named", () => {
  const { problems, warnings } = lanVerdict({ ...lan, dhcp: "full" }, [router]);
  assert.is(problems.length, 1);
  assert.match(
    problems[0]!.what,
    /another DHCP server gives addresses there: 10\.0\.0\.254 \(card 52:54:00:00:00:fe\)/,
  );
  assert.match(problems[0]!.todo, /--dhcp proxy.*--dhcp-anyway/);
  assert.equal(warnings, []);
  const anyway = lanVerdict({ ...lan, dhcp: "full", dhcpAnyway: true }, [router]);
  assert.equal([anyway.problems.length, anyway.warnings.length, anyway.dhcp], [0, 1, "full"]);
  assert.equal(lanVerdict({ ...lan, dhcp: "full" }, []).problems, []);
});

test("proxy mode beside nobody is warned of: nobody gives machines an address", () => {
  const alone = lanVerdict(lan, []);
  assert.match(alone.warnings[0]!.what, /no DHCP server answers on eth1/);
  assert.match(alone.warnings[0]!.todo, /--dhcp full --dhcp-range/);
  const beside = lanVerdict(lan, [router]);
  assert.equal([beside.warnings, beside.problems], [[], []]);
  assert.match(beside.say[0]!, /DHCP on eth1: 10\.0\.0\.254 .* gives addresses such as 10\.0\.0\.77/);
});

test("auto is proxy beside one that gives addresses and full where none does, and says so", () => {
  const auto = { ...lan, dhcp: "auto" } as const;
  assert.is(lanVerdict(auto, [router]).dhcp, "proxy");
  assert.match(lanVerdict(auto, [router]).say.join(), /\(proxy\)/);
  assert.is(lanVerdict(auto, [proxy]).dhcp, "full", "a proxy alone gives nobody an address");
  assert.match(lanVerdict(auto, []).say.join(), /\(full\), 10\.0\.0\.5-10\.0\.0\.9/);
});

test("another server that boots machines is warned of in every mode", () => {
  for (const dhcp of ["proxy", "full", "auto"] as const)
    assert.match(
      lanVerdict({ ...lan, dhcp }, [proxy]).warnings.at(-1)!.what,
      /tells machines what to boot as well: 10\.0\.0\.8 tells machines what to boot \(pxelinux\.0\)/,
    );
});

test("that nobody could be asked is a warning, and no reason to choose a mode", () => {
  const failed = { failed: "UDP 68 is taken" };
  assert.match(lanVerdict(lan, failed).warnings[0]!.what, /could not be asked: UDP 68 is taken/);
  assert.equal([lanVerdict(lan, failed).problems, lanVerdict({ ...lan, dhcp: "full" }, failed).dhcp], [[], "full"]);
  assert.match(lanVerdict({ ...lan, dhcp: "auto" }, failed).problems[0]!.todo, /name a mode/);
});

test.run();
