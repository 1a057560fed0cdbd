import { runCli } from "./cli/program.ts";

const args = process.argv.slice(2);
process.exitCode = await runCli(args);
// gRPC gives up no TLS handshake when its client closes, so a control plane that hangs would keep the shell waiting for good.
if (args[0] !== "node" && args[0] !== "control") setTimeout(() => process.exit(), 500).unref();
