import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createLineSink } from "../../src/telemetry/line-sink.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { redact } from "../../src/telemetry/redact.ts";

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const keyText = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
const keyBody = keyText.split("\n")[1] ?? "";
const token = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from('{"sub":"system:serviceaccount:a:b"}').toString("base64url")}.c2lnbmF0dXJl`;

describe("redact", () => {
  it.each([
    ["a key as it is in a file", keyText, keyBody],
    ["a key inside JSON", JSON.stringify({ detail: keyText }), keyBody],
    ["a key cut off in the middle", JSON.stringify(keyText.slice(0, 90)), keyBody.slice(0, 40)],
    ["two keys in one line", keyText + keyText, keyBody],
    ["a service account token", `token ${token} refused`, token.split(".")[1] ?? ""],
    ["an authorization header", "authorization: Bearer abcdefgh12345678", "abcdefgh12345678"],
  ])("hides %s", (_name, text, secret) => {
    expect(secret.length).toBeGreaterThan(8);
    expect(text).toContain(secret.slice(0, 12));
    const clean = redact(text);
    expect(clean).not.toContain(secret.slice(0, 12));
    expect(clean).toContain("[redacted");
  });

  it("says what was hidden and keeps what stands around it", () => {
    expect(redact(`before ${keyText} after`)).toMatch(/^before \[redacted PRIVATE KEY\]\s+after$/);
  });

  it.each(["connection complete src.addr=10.0.0.1:80", "the bearer of this", "eyJ alone", "a-----b"])(
    "leaves %j",
    (text) => expect(redact(text)).toBe(text),
  );
});

describe("the agent's log", () => {
  const folders: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });

  async function written(format: "text" | "json", write: (log: ReturnType<typeof createLog>) => void): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "warren-log-"));
    folders.push(folder);
    const destination = join(folder, "log");
    const sink = createLineSink({ destination, buffer: 1 << 20 });
    write(createLog(sink, { level: "info", format }));
    await sink.close(5000);
    return readFile(destination, "utf8");
  }

  it.each(["text", "json"] as const)("writes no key, token or certificate chain as %s", async (format) => {
    const output = await written(format, (log) => {
      log.info({ privateKey: keyText, renewal: { token, chain: "abc" } }, "renewed");
      log.error({ error: new Error(`cannot parse ${keyText}`) }, `CA said: Bearer ${token}`);
    });
    expect(output).toContain("renewed");
    expect(output).toContain("CA said");
    for (const secret of [keyBody, token, '"abc"']) expect(output).not.toContain(secret);
  });

  it("writes text as one line of key=value", async () => {
    const output = await written("text", (log) => {
      log.child({ scope: "enrolment" }).warn({ pod: "a/b", error: new Error("no such\nfile"), count: 3 }, "not\nyet");
      log.debug("unseen");
    });
    expect(output).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z warn {2}enrolment not\\nyet pod=a\/b error="no such\\nfile" count=3\n$/,
    );
  });

  it("writes JSON with the level as a word", async () => {
    const output = await written("json", (log) => log.info({ pod: "a/b" }, "here"));
    expect(JSON.parse(output)).toEqual({ level: "info", time: expect.any(String), pod: "a/b", message: "here" });
  });
});
