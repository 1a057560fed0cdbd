import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpServer } from "../../src/lib/http-server.ts";
import { metricsAnswer } from "../../src/node/reporting.ts";
import type { ExpositionFormat } from "../../src/telemetry/open-metrics.ts";

const listen = { host: "127.0.0.1", port: 0 };
let server: HttpServer;
let url: string;
let fail = false;

async function* pieces(format: ExpositionFormat) {
  yield `a_total{x="é"} 1\n`;
  if (fail) throw new Error("a source failed");
  yield format === "openmetrics" ? "# EOF\n" : "b 2\n";
}

beforeEach(async () => {
  fail = false;
  server = new HttpServer(
    { "GET /metrics": metricsAnswer({ pieces }) },
    { name: "metrics", listen, loopbackOnly: false },
  );
  const { host, port } = await server.start();
  url = `http://${host}:${port}/metrics`;
});
afterEach(() => server.stop());

describe("a scrape", () => {
  it.each([
    ["text/plain", "text/plain; version=0.0.4; charset=utf-8", 'a_total{x="é"} 1\nb 2\n'],
    [
      "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
      "application/openmetrics-text; version=1.0.0; charset=utf-8",
      'a_total{x="é"} 1\n# EOF\n',
    ],
  ])("that accepts %s is answered in that format", async (accept, type, body) => {
    const response = await fetch(url, { headers: { accept } });
    expect(response.headers.get("content-type")).toBe(type);
    expect(await response.text()).toBe(body);
  });

  it("whose source fails half-way is cut, not ended as if it were whole; the next one is answered", async () => {
    fail = true;
    const response = await fetch(url);
    await expect(response.text()).rejects.toThrow("terminated");
    fail = false;
    expect((await fetch(url)).status).toBe(200);
  });

  it("for the header section alone makes no piece", async () => {
    fail = true;
    const response = await fetch(url, { method: "HEAD" });
    expect([response.status, await response.text()]).toEqual([200, ""]);
  });
});
