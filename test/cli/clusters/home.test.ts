// Where this user's files are, by the rules of each system.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { clustersFile } from "../../../cli/clusters/clusters-file.ts";
import { homeOf } from "../../../cli/clusters/home.ts";
import { caFile } from "../../../cli/git/git-settings.ts";

test("clusters are kept in ~/.flynn, and in %USERPROFILE%\\.flynn", () => {
  assert.is(clustersFile({ HOME: "/home/an na" }, "linux"), "/home/an na/.flynn/clusters.json");
  assert.is(clustersFile({ HOME: "/Users/an na" }, "darwin"), "/Users/an na/.flynn/clusters.json");
  const windows = { USERPROFILE: "C:\\Users\\An Na" };
  assert.is(clustersFile(windows, "win32"), "C:\\Users\\An Na\\.flynn\\clusters.json");
  assert.is(caFile(windows, "prod", "win32"), "C:\\Users\\An Na\\.flynn\\ca\\prod.pem");
});

test("HOME goes before the profile, as git has it; FLYNN_HOME goes before both", () => {
  assert.is(homeOf({ HOME: "D:\\home", USERPROFILE: "C:\\Users\\x" }, "win32"), "D:\\home");
  assert.is(homeOf({ USERPROFILE: "C:\\Users\\x", HOME: "" }, "win32"), "C:\\Users\\x");
  assert.is(clustersFile({ FLYNN_HOME: "D:\\clusters", HOME: "C:\\x" }, "win32"), "D:\\clusters\\clusters.json");
});

test.run();
