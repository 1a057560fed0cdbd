import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

test("what an agent loads for identities holds no X.509 library: it would cost each agent 10 MB", () => {
  const program = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    for (const name of ["certificate-store", "ca-client", "certificate", "spiffe"]) {
      await import(new URL(name + ".ts", ${JSON.stringify(new URL("../../src/identity/", import.meta.url).href)}));
    }
    console.log(loaded.join("\\n"));`;
  const loaded = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  expect(loaded).toContain("/@grpc/grpc-js/");
  expect(loaded).not.toMatch(/x509|reflect-metadata|asn1|pkijs/);
});
