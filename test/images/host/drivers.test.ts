// What machines cannot boot without is in the initrd: the table against what an initrd holds.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { driversOf, missingDrivers } from "../../../images/host/drivers.ts";
import { ARCHITECTURES, packagesOf } from "../../../images/host/recipe.ts";

const net = "usr/lib/modules/6.1.0-57-amd64/kernel/drivers/net/ethernet";

test("a driver is there by its module, whatever folder it is in and however it is packed", () => {
  const table = { igb: undefined, ax88179_178a: undefined };
  assert.equal(missingDrivers([`${net}/intel/igb/igb.ko`, `${net}/usb/ax88179_178a.ko.xz`], table), []);
  assert.equal(missingDrivers([`${net}/intel/igbvf/igbvf.ko`, `${net}/usb/ax88179_178a.ko`], table), ["no driver igb"]);
  assert.equal(missingDrivers(["igb.ko", `${net}/igb`], { igb: undefined }), ["no driver igb"]);
});

test("a card that is mute without its firmware has that too, as a file or as a folder", () => {
  const table = { nfp: "netronome", netxen_nic: "phanfw.bin" };
  const drivers = [`${net}/netronome/nfp/nfp.ko`, `${net}/qlogic/netxen/netxen_nic.ko`];
  const firmware = ["usr/lib/firmware/netronome/nic_AMDA0058-0011_2x40.nffw", "usr/lib/firmware/phanfw.bin"];
  assert.equal(missingDrivers([...drivers, ...firmware], table), []);
  assert.equal(missingDrivers(drivers, table), [
    "no firmware netronome of nfp",
    "no firmware phanfw.bin of netxen_nic",
  ]);
});

test("the table holds the cards of servers, of virtual machines and of clouds", () => {
  const wanted =
    "e1000 e1000e igb igc ixgbe i40e ice bnx2 bnx2x bnxt_en tg3 mlx4_en mlx5_core qede qlcnic sfc r8169 virtio_net vmxnet3 ena hv_netvsc atlantic nfp liquidio cxgb4 enic be2net gve";
  for (const architecture of ARCHITECTURES) {
    const drivers = driversOf(architecture);
    for (const driver of wanted.split(" ")) assert.ok(Object.hasOwn(drivers, driver), driver);
    assert.equal(missingDrivers([], drivers).length, Object.keys(drivers).length, "nothing is there of itself");
  }
  for (const driver of ["hns3", "nicvf", "genet"]) assert.ok(Object.hasOwn(driversOf("arm64"), driver), driver);
});

test("the packages that bring that firmware, and microcode, are in the image", () => {
  for (const name of ["firmware-netronome", "firmware-cavium", "intel-microcode", "amd64-microcode"])
    assert.ok(packagesOf("amd64").includes(name), name);
  assert.ok(packagesOf("arm64").includes("firmware-netronome"));
  assert.equal(
    packagesOf("arm64").filter((name) => /microcode|amd64/.test(name)),
    [],
    "none is for another processor",
  );
});

test.run();
