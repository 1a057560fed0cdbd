import { expect, test } from "vitest";
import { revokedBy } from "../../../src/cli/query/revoked.ts";
import { settingsOf } from "../../../src/cli/query/source.ts";
import type { MeshSettings } from "../../../src/model/mesh.ts";
import { makeCrl, makeParty } from "../../support/pki.ts";

const [api, web] = ["api", "web"].map((name) => `spiffe://cluster.local/ns/shop/sa/${name}`) as [string, string];

test("nobody is revoked where nothing says so; a denied identity is, whatever its serial; a listed serial is, whoever has it", async () => {
  const settings = (over: Partial<MeshSettings>) => revokedBy({ ...settingsOf({}), ...over });
  const held = [
    { identity: api, serial: "0a:01" },
    { identity: web, serial: "a:01" },
    { identity: web, serial: "0B:01" },
  ];
  const told = async (over: Partial<MeshSettings>) => held.map(await settings(over));
  expect(await told({})).toEqual([false, false, false]);
  expect(await told({ deniedIdentities: [api as MeshSettings["deniedIdentities"][number]] })).toEqual([
    true,
    false,
    false,
  ]);
  const root = await makeParty({ subject: "CN=root", authority: true });
  // Serials are written with and without their leading zero.
  expect(await told({ crl: await makeCrl(root, ["0a01"]) })).toEqual([true, true, false]);
  expect(await told({ crl: (await makeCrl(root, ["0b01"])) + (await makeCrl(root, ["0c01"])) })).toEqual([
    false,
    false,
    true,
  ]);
});
