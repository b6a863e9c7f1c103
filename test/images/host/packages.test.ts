import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseInstalled, parseSimulation } from "../../../images/host/packages.ts";

test("the packages apt would install are read from its simulation, sorted", () => {
  const text = [
    "Reading package lists...",
    "Inst libc6 (2.36-9+deb12u10 Debian:12.11/stable [amd64])",
    "Inst base-files [12.4] (12.4+deb12u11 Debian:12.11/stable [amd64]) []",
    "Conf libc6 (2.36-9+deb12u10 Debian:12.11/stable [amd64])",
  ].join("\n");
  assert.equal(parseSimulation(text), [
    { name: "base-files", version: "12.4+deb12u11" },
    { name: "libc6", version: "2.36-9+deb12u10" },
  ]);
});

test("installed packages are read name and version, sorted", () => {
  assert.equal(parseInstalled("zstd\t1.5\nadduser\t3.134\n"), [
    { name: "adduser", version: "3.134" },
    { name: "zstd", version: "1.5" },
  ]);
});

test.run();
