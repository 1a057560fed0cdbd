#!/usr/bin/env node
// Starts warren on the Node 24 that `npm ci` installed beside it, whatever Node the shell found first.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const bundledNode = fileURLToPath(new URL(`../node_modules/node-linux-${process.arch}/bin/node`, import.meta.url));

if (!existsSync(main)) {
  process.stderr.write("warren: not built yet: run `make` in the checkout first\n");
  process.exit(2);
}
if (Number.parseInt(process.versions.node, 10) >= 24) {
  await import(main);
} else if (existsSync(bundledNode)) {
  const child = spawn(bundledNode, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
} else {
  process.stderr.write(`warren: needs Node 24, this is ${process.version}: run \`npm ci\`, which brings it\n`);
  process.exit(2);
}
