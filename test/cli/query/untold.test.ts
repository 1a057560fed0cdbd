/**
 * What control cannot tell agents, from the object to the verb. Objects are checked before they are told, so none is known that cannot
 * be: the encoder of one of them is made to fail.
 */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { Check } from "../../../src/cli/query/check-report.ts";
import type * as policies from "../../../src/xds/resources/policy.ts";
import { podManifest, startControlPlane } from "../../support/control-plane.ts";
import { expectDocument } from "../../support/documents.ts";
import { document } from "../support/run-cli.ts";

const unsayable = "unsayable";
vi.mock("../../../src/xds/resources/policy.ts", async (original) => {
  const real = await original<typeof policies>();
  const encodePeerAuthentication: typeof real.encodePeerAuthentication = (policy) => {
    // What takes its place refuses, and can be said.
    if (policy.name === unsayable && policy.mode === "PERMISSIVE") throw new Error("no word for it");
    return real.encodePeerAuthentication(policy);
  };
  return { ...real, encodePeerAuthentication };
});

test("an object that control cannot tell is named by check, with what holds instead, until it is repaired", async () => {
  const pod = podManifest("api", "w1");
  const policy = (name: string) => ({
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name, namespace: "production" },
    spec: { mtls: { mode: "PERMISSIVE" } },
  });
  const plane = await startControlPlane([], [...pod, policy(unsayable)]);
  const [tokenFile, token] = [join(plane.folder, "operator"), "operators-own-token-0123456789"];
  await writeFile(tokenFile, token);
  const digest = createHash("sha256").update(token).digest("hex");
  const operators = { ann: { token: digest, actions: ["inspect"] } };
  await writeFile(join(plane.folder, "tokens.yaml"), JSON.stringify({ tokens: {}, operators }));
  const root = join(plane.folder, "published/root.pem");
  const flags = ["--control", `127.0.0.1:${plane.port}`, "--token-file", tokenFile, "--root", root];
  const told = async () => {
    // Control takes the new token file, and a changed folder, a moment later.
    const found = await document<{ checks: Check[] }>("check", ...flags).catch(() => undefined);
    if (found === undefined) return undefined;
    expectDocument(found, "warren.check/v1");
    return found.checks.find(({ code }) => code === "resources-told");
  };
  await expect.poll(told, { timeout: 30_000 }).toMatchObject({
    result: "warning",
    detail: "policy PeerAuthentication/production/unsayable: no word for it",
    hint: expect.stringContaining("last good version") as string,
  });
  await plane.apply(...pod, policy("sayable"));
  await expect.poll(told, { timeout: 30_000 }).toMatchObject({ result: "ok", detail: "" });
});
