/** Keys and tokens of a lab, as they really are, and what they look like: what no log and no archive may hold, redacted or not. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** How every private key begins in DER, whoever wrote it down as base64: PKCS#8 and SEC 1, by kind of key (RFC 5958, RFC 5915, RFC 8017). */
const keysBegin = [
  "MIGHAgEAMBMGByqGSM49", // P-256, PKCS#8
  "MHcCAQEEI", // P-256, SEC 1
  "MIG2AgEAMBAGByqGSM49", // P-384, PKCS#8
  "MIGkAgEBBD", // P-384, SEC 1
  "MC4CAQAwBQYDK2Vw", // Ed25519
  "IBADANBgkqhkiG9w0BAQEF", // RSA, PKCS#8, behind its length
  "PRIVATE KEY-----",
];
const jsonWebToken = /eyJ[\w-]{10,}\.eyJ[\w-]{10,}\./;

export interface Secret {
  /** The file that holds it. */
  readonly name: string;
  readonly text: string;
}

/** What stands in the files of a folder: bodies of private keys, and whole files that are called tokens. */
export function secretsOf(folder: string): Secret[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".log"))
    .flatMap(({ name, parentPath }) => {
      const path = join(parentPath, name);
      const text = readFileSync(path, "utf8");
      if (/token/.test(path) && /^\S{16,}$/.test(text.trim())) return [{ name: path, text: text.trim() }];
      const keys = text.matchAll(/-----BEGIN [A-Z ]*PRIVATE KEY-----([\s\S]*?)-----END/g);
      // Without line breaks, and by its second half: the first is alike in all keys of a kind.
      return Array.from(keys, ([, body = ""]) => ({ name: path, text: body.replaceAll(/\s|\\n/g, "").slice(-64) }));
    });
}

/** Names of what is found of them, and of whatever else looks like a key or a token. */
export function secretsIn(text: string, known: readonly Secret[]): string[] {
  const joined = text.replaceAll(/\\n|\n/g, "");
  return [
    ...known.filter((secret) => joined.includes(secret.text)).map(({ name }) => name),
    ...keysBegin.filter((begin) => joined.includes(begin)),
    ...(jsonWebToken.test(joined) ? ["a JSON web token"] : []),
  ];
}
