// Where the packed CLI begins: git's question is answered without the rest.
import "./older-node.ts";
import process from "node:process";

if (process.argv[2] === "git-credential") await import("../git/git-credential.ts");
else await import("../main.ts");
