import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { overlayDirectory } from "../../../images/host/customize.ts";
import { ARCHITECTURES, cmdlineOf, disabledUnits, enabledUnits, maskedUnits } from "../../../images/host/recipe.ts";
import { squashfsArguments } from "../../../images/host/squashfs.ts";

const overlay = readdirSync(overlayDirectory, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));

test("the base command line boots live, restarts by itself and ends on the serial console", () => {
  for (const [architecture, port] of [
    ["amd64", "ttyS0"],
    ["arm64", "ttyAMA0"],
  ] as const) {
    const cmdline = cmdlineOf(architecture);
    assert.ok(cmdline.includes("boot=live"));
    assert.ok(cmdline.includes("panic=30"));
    assert.is(cmdline.filter((word) => word.startsWith("console=")).at(-1), `console=${port},115200n8`);
  }
});

test("nothing of one boot, and no ip= (which makes live-boot write a static address), is in the base command line", () => {
  for (const word of ARCHITECTURES.flatMap(cmdlineOf)) assert.not.match(word, /^(fetch|BOOTIF|ds|ip)=/);
});

test("no unit is both masked and wanted", () => {
  const wanted = new Set<string>([...enabledUnits, ...disabledUnits]);
  assert.equal(
    maskedUnits.filter((unit) => wanted.has(unit)),
    [],
  );
  const units = overlay.filter((file) => file.endsWith(".service")).map((file) => readFileSync(file, "utf8"));
  for (const unit of maskedUnits)
    assert.not.ok(
      units.some((text) => new RegExp(`^Requires=.*${unit}`, "m").test(text)),
      unit,
    );
});

test("docker and the agent cannot start before the disk step", () => {
  const text = (name: string) => readFileSync(join(overlayDirectory, "etc/systemd/system", name), "utf8");
  for (const name of ["docker.service.d/flynn.conf", "flynn-hostd.service"]) {
    assert.match(text(name), /^Requires=.*flynn-disk\.service/m);
    assert.match(text(name), /^After=.*flynn-disk\.service/m);
  }
  assert.match(text("docker.service.d/flynn.conf"), /^AssertPathIsMountPoint=\/var\/lib\/docker$/m);
});

test("the overlay's JSON parses, its shell scripts are shell, and its initramfs hook can be run", () => {
  JSON.parse(readFileSync(join(overlayDirectory, "etc/docker/daemon.json"), "utf8"));
  const scripts = overlay.filter((file) => readFileSync(file, "utf8").startsWith("#!/bin/sh"));
  assert.ok(scripts.length >= 2);
  for (const script of scripts) execFileSync("dash", ["-n", script]);
  assert.ok(statSync(join(overlayDirectory, "etc/initramfs-tools/hooks/flynn")).mode & 0o100);
});

test("development packing is lz4, release packing zstd", () => {
  assert.ok(squashfsArguments(true).includes("lz4"));
  assert.ok(squashfsArguments(false).includes("zstd"));
});

test.run();
