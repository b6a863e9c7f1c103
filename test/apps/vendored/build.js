// The build script: needs a package that is not there any more when the app runs.
const { writeFileSync } = require("node:fs");
const { shout } = require("shout");

writeFileSync("built.txt", shout("built\n"));
console.log("built.txt written");
