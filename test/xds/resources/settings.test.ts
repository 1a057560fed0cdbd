import { beforeAll, describe, expect, test } from "vitest";
import { decodeSettings, encodeSettings, settingsName } from "../../../src/xds/resources/settings.ts";
import { settings } from "../../mesh/build.ts";
import { makeCrl, makeParty, type Party } from "../../support/pki.ts";

let root: Party;
let crl: string;
beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true });
  crl = await makeCrl(root, ["2a"]);
});

const roundTrip = (changed: object) => decodeSettings(settingsName, encodeSettings({ ...settings, ...changed }).bytes);

describe("the settings of the mesh", () => {
  test("carry what an authority says, as it was said", () => {
    const said = { crl, trustBundle: root.pem, issuingRoot: "5f0c".repeat(16) };
    expect(roundTrip(said)).toEqual({ ...settings, ...said });
    expect(roundTrip({})).toEqual(settings);
  });

  test.each<[string, () => object, RegExp]>([
    ["a revocation list that is no PEM", () => ({ crl: "garbage" }), /^crl: /],
    [
      "a revocation list that is cut short",
      () => ({ crl: crl.replace(/\n.{64}\n/, "\n") }),
      /^crl: CRL 1 cannot be used/,
    ],
    ["roots that are no certificates", () => ({ trustBundle: "garbage" }), /^trust_bundle holds no PEM certificate/],
    ["a root that is cut short", () => ({ trustBundle: root.pem.replace(/\n.{64}\n/, "\n") }), /^trust_bundle: /],
    ["an issuing root that is no fingerprint", () => ({ issuingRoot: "root" }), /^issuing_root is not a SHA-256/],
  ])("with %s are refused whole: what was in force stays", (_what, changed, message) => {
    expect(() => roundTrip(changed())).toThrow(message);
  });
});
