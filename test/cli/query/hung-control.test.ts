/** A control plane that is there and says nothing: a frozen process, or a way that swallows packets. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { servingFiles } from "../../support/serving-files.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const main = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));

test("a control plane that takes a connection and never answers ends a verb with 3, and keeps no shell waiting", async () => {
  const { certificate, root } = await servingFiles(await temporaryFolder());
  const server = createServer((socket) => {
    socket.on("error", () => {});
    onTestFinished(() => void socket.destroy());
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  // Any text is a token to one who reads none.
  const flags = ["--control", address, "--token-file", certificate, "--root", root, "--timeout", "100ms"];
  const child = spawn(process.execPath, [main, "status", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [told, [code]] = await Promise.all([text(child.stderr), once(child, "exit") as Promise<[number | null]>]);
  expect({ code, told }).toMatchObject({ code: 3, told: expect.stringMatching(/took no connection within 200 ms/) });
});
