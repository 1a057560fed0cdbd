import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { NodeTokens } from "../../../src/control/access/node-tokens.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const hash = (token: string) => createHash("sha256").update(token).digest("hex");
const log = { info: () => {}, error: () => {} };

async function tokens(content: object): Promise<NodeTokens> {
  const path = join(await temporaryFolder(), "tokens.yaml");
  await writeFile(path, JSON.stringify(content));
  const made = new NodeTokens({ clock: new FakeClock(), log }, { path });
  onTestFinished(() => made.stop());
  await made.start();
  return made;
}

const file = {
  tokens: { w1: hash("node-token") },
  operators: {
    ann: { token: hash("ann's"), actions: ["inspect"] },
    bob: { token: hash("bob's"), actions: ["inspect", "manage-agents"] },
  },
};

describe("operators by tokens of a file", () => {
  test.each([
    ["ann's", "inspect", { name: "ann" }],
    ["ann's", "manage-agents", { refused: "ann may not manage-agents" }],
    ["bob's", "manage-agents", { name: "bob" }],
    ["bob's", "manage-authority", { refused: "bob may not manage-authority" }],
    ["", "inspect", { refused: "no bearer token was shown" }],
  ] as const)("%j for %s", async (token, action, expected) => {
    expect(await (await tokens(file)).authorize(token, action)).toEqual(expected);
  });

  test("a node's token is no operator's, and an operator's no node's", async () => {
    const made = await tokens(file);
    expect(await made.authorize("node-token", "inspect")).toHaveProperty("refused");
    expect(await made.authenticate("ann's")).toHaveProperty("refused");
    expect(await made.authenticate("node-token")).toEqual({ node: "w1" });
  });

  test.each([
    [
      { ...file, operators: { eve: { token: hash("node-token"), actions: ["inspect"] } } },
      /operators.eve: another node has the same token/,
    ],
    [{ ...file, operators: { eve: { token: hash("x"), actions: ["everything"] } } }, /operators.eve.actions/],
    [
      { ...file, operators: { eve: { token: "plain", actions: ["inspect"] } } },
      /operators.eve.token: is not a SHA-256/,
    ],
  ])("%#: a file that says something wrong is refused, naming it", async (content, expected) => {
    await expect(tokens(content)).rejects.toThrow(expected);
  });
});
