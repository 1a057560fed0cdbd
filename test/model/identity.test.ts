import { expect, test } from "vitest";
import { equivalentIdentities } from "../../src/model/identity.ts";
import { identity } from "../mesh/build.ts";

const own = { trustDomain: "new.example", trustDomainAliases: ["old.example", "older.example"] };
const called = (trustDomain: string) => identity("shop", "web", trustDomain);

test.each([
  ["of our own domain", called("new.example"), own, ["new.example", "old.example", "older.example"]],
  ["of an alias", called("old.example"), own, ["old.example", "new.example", "older.example"]],
  ["of a stranger", called("evil.example"), own, ["evil.example"]],
  ["where there are no aliases", called("new.example"), { ...own, trustDomainAliases: [] }, ["new.example"]],
])("an identity %s goes by these names, itself first", (_what, one, settings, domains) => {
  expect(equivalentIdentities(one, settings)).toEqual(domains.map(called));
});
