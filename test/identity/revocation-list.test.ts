import "reflect-metadata";
import { X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { isRevoked, readRevocationLists } from "../../src/identity/revocation-list.ts";
import { makeCrl, makeParty, type Party } from "../support/pki.ts";

let root: Party;
let intermediate: Party;
let leaf: Party;
let namesake: Party;
beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true });
  intermediate = await makeParty({ subject: "CN=intermediate", authority: true }, root);
  leaf = await makeParty({ subject: "CN=leaf", serial: "00f1" }, intermediate);
  // Another key under the intermediate's name.
  namesake = await makeParty({ subject: "CN=intermediate", authority: true }, root);
});

function chain(...parties: Party[]): X509Certificate[] {
  return parties.map(({ pem }) => new X509Certificate(pem));
}

describe("a revocation list", () => {
  it("revokes the certificates that its issuer signed and it names", async () => {
    const lists = readRevocationLists(await makeCrl(intermediate, ["00f1"]));
    expect(isRevoked(chain(leaf, intermediate, root), lists)).toBe(true);
  });

  it("revokes a chain by its intermediate", async () => {
    const lists = readRevocationLists(await makeCrl(root, [intermediate.certificate.serialNumber]));
    expect(isRevoked(chain(leaf, intermediate, root), lists)).toBe(true);
  });

  it.each([
    ["names other serials", () => makeCrl(intermediate, ["00f2", "f100"])],
    ["is of another issuer", () => makeCrl(root, ["00f1"])],
    ["is of a namesake with another key", () => makeCrl(namesake, ["00f1"])],
    ["is empty", () => makeCrl(intermediate, [])],
  ])("does not revoke when it %s", async (_title, crl) => {
    expect(isRevoked(chain(leaf, intermediate, root), readRevocationLists(await crl()))).toBe(false);
  });

  it("is one of many in a text", async () => {
    const lists = readRevocationLists(
      `${await makeCrl(root, [])}# a comment\n${await makeCrl(intermediate, ["00f1"])}`,
    );
    expect(lists).toHaveLength(2);
    expect(isRevoked(chain(leaf, intermediate, root), lists)).toBe(true);
  });

  it("is none in an empty text", () => {
    expect(readRevocationLists(" \n")).toEqual([]);
  });

  it("is refused when its signature was tampered with, by not counting", async () => {
    const pem = await makeCrl(intermediate, ["00f1"]);
    const bytes = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
    const last = bytes.length - 1;
    bytes[last] = (bytes[last] ?? 0) ^ 1;
    const tampered = `-----BEGIN X509 CRL-----\n${bytes.toString("base64")}\n-----END X509 CRL-----\n`;
    expect(isRevoked(chain(leaf, intermediate, root), readRevocationLists(tampered))).toBe(false);
  });

  it.each([
    ["text without a block", "hello", /no PEM block/],
    ["a block that is no list", "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n", /CRL 1 cannot be used/],
  ])("is unreadable: %s", (_title, text, message) => {
    expect(() => readRevocationLists(text)).toThrow(expect.objectContaining({ code: "MESH_CRL_UNREADABLE" }));
    expect(() => readRevocationLists(text)).toThrow(message);
  });
});
