// What may be set as the address of a BMC: boot servers speak to it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkedBmc } from "../../control/power/bmcs.ts";

const JOBS = "10.99.0.0/16";
const set = (address: string) =>
  checkedBmc({ kind: "redfish", address, user: "root", password: "secret123" }, { kept: undefined, jobNetwork: JOBS });

for (const address of [
  ...["localhost", "localhost:7443", "LocalHost.", "bmc.localhost", "ip6-loopback", "[::1]:7443", "[::ffff:127.0.0.1]"],
  ...["169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518:443"],
  ...["[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]:443", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"],
  ...["168.63.129.16", "[::ffff:168.63.129.16]", "[fd00:ec2::254]", "[fd00:0ec2:0:0::254]"],
  ...["10.99.0.5", "[::ffff:10.99.0.5]", "[::10.99.0.5]", "[fe80::1]", "0.0.0.0", "[::]", "[ff02::1]", "[1.2]"],
])
  test(`${address} is no BMC: the boot server's own, a cloud's metadata, a job's or nobody's`, () => {
    assert.throws(() => set(address), /no address of a BMC/);
  });

for (const address of [
  "10.0.0.9",
  "192.168.7.2:8443",
  "bmc-1.rack.example",
  "[fd12:3456::9]:443",
  "[2001:db8::9]",
  "127.0.0.1:8000",
])
  test(`${address} may be one`, () => {
    assert.is(set(address).address, address);
  });

test.run();
