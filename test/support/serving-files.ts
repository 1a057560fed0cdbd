import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeParty } from "./pki.ts";

/** A root and a certificate for 127.0.0.1 that leads to it, as PEM files. */
export async function servingFiles(folder: string): Promise<{ certificate: string; key: string; root: string }> {
  const root = await makeParty({ subject: "CN=root", authority: true });
  const leaf = await makeParty(
    { subject: "CN=control", names: [{ type: "ip", value: "127.0.0.1" }], purposes: ["server"] },
    root,
  );
  const files = { certificate: join(folder, "tls.crt"), key: join(folder, "tls.key"), root: join(folder, "root.pem") };
  await Promise.all([
    writeFile(files.certificate, leaf.pem),
    writeFile(files.key, leaf.key),
    writeFile(files.root, root.pem),
  ]);
  return files;
}
