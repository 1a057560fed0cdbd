/**
 * Whether scrapes of many series hold up what else runs on the agent's thread: small messages go to and fro over loopback through the
 * event loop that also answers the scrapes, in turns with scrapes back to back and without any. Who pings and who scrapes are processes
 * of their own, so that reading the answers delays no ping. Prints one JSON document.
 *
 *   node bench/programs/scrape.ts [--series 10000] [--rounds 10] [--messages 2000]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { get } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { parseArgs } from "node:util";
import { HttpServer } from "../../src/lib/http-server.ts";
import type { Identity } from "../../src/model/identity.ts";
import { metricsAnswer } from "../../src/node/reporting.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { quantile } from "../statistics.ts";

const { values: options } = parseArgs({
  options: {
    series: { type: "string", default: "10000" },
    rounds: { type: "string", default: "10" },
    messages: { type: "string", default: "2000" },
    ping: { type: "string" },
    scrape: { type: "string" },
  },
});
const rounds = Number(options.rounds);
const messages = Number(options.messages);

if (options.ping !== undefined && options.scrape !== undefined) await measure(Number(options.ping), options.scrape);
else if (options.scrape !== undefined) await scrapeWhenTold(options.scrape);
else await serve(Number(options.series));

/** Four samples of a label set have a value: connections opened and closed, bytes both ways. */
async function serve(series: number): Promise<void> {
  const metrics = new Metrics({ now: Date.now }, { version: "0", policies: 10, series, seriesIdleMs: 3_600_000 });
  const nowhere = { address: "10.0.0.1", port: 80 };
  for (let flow = 1; flow <= series / 4; flow++) {
    const peer = `spiffe://cluster.local/ns/namespace-${flow % 20}/sa/account-${flow}` as Identity;
    metrics.flowClosed(
      {
        flow,
        role: "inbound-hbone",
        source: nowhere,
        destination: nowhere,
        target: nowhere,
        peer,
        tunnel: 1,
        bytesSent: 100 + flow,
        bytesReceived: 200 + flow,
        reason: "ok",
        detail: "",
        traceparent: "",
        arrivedAt: 0,
        connectedMs: 1,
        durationMs: 2,
      },
      { source: undefined, destination: undefined, service: undefined, policy: "", shadow: [] },
      undefined,
    );
  }
  const answer = metricsAnswer(metrics);
  const listen = { host: "127.0.0.1", port: 0 };
  const http = new HttpServer({ "GET /metrics": answer }, { name: "metrics", listen, loopbackOnly: false });
  const { host, port } = await http.start();
  const echo = createServer((socket) => socket.setNoDelay().pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  const { port: ping } = echo.address() as AddressInfo;
  const child = fork(
    new URL(import.meta.url),
    [`--ping=${ping}`, `--scrape=http://${host}:${port}/metrics`, `--rounds=${rounds}`, `--messages=${messages}`],
    { stdio: "inherit" },
  );
  const [code] = (await once(child, "exit")) as [number | null];
  echo.close();
  await http.stop();
  process.exitCode = code ?? 1;
}

async function measure(ping: number, url: string): Promise<void> {
  const socket = connect({ port: ping, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  await exchange(socket, messages);
  const alone: number[] = [];
  const scraped: number[] = [];
  const scraper = fork(new URL(import.meta.url), [`--scrape=${url}`]);
  const seen = { scrapes: 0, samples: 0 };
  for (let round = 0; round < rounds; round++) {
    alone.push(...(await exchange(socket, messages)));
    scraper.send("start");
    await once(scraper, "message");
    scraped.push(...(await exchange(socket, messages)));
    const stopped = once(scraper, "message");
    scraper.send("stop");
    const [told] = (await stopped) as [typeof seen];
    seen.scrapes += told.scrapes;
    seen.samples = told.samples;
  }
  scraper.disconnect();
  socket.destroy();
  const at = (values: number[], share: number) => Number((quantile(values, share) ?? 0).toFixed(3));
  const told = (values: number[]) => ({ p50: at(values, 0.5), p99: at(values, 0.99), max: at(values, 1) });
  process.stdout.write(
    `${JSON.stringify({ ...seen, messages: alone.length, aloneMs: told(alone), scrapedMs: told(scraped) }, undefined, 2)}\n`,
  );
}

/** Milliseconds of each round trip of one byte, one after the other. */
async function exchange(socket: ReturnType<typeof connect>, count: number): Promise<number[]> {
  const took: number[] = [];
  for (let index = 0; index < count; index++) {
    const began = performance.now();
    const back = once(socket, "data");
    socket.write("x");
    await back;
    took.push(performance.now() - began);
  }
  return took;
}

/** One scrape after the other from "start" to "stop"; answers when the first has been answered, and with the count at the end. */
async function scrapeWhenTold(url: string): Promise<void> {
  let stopping = new AbortController();
  process.on("message", (told) => {
    stopping.abort();
    if (told === "stop") return;
    stopping = new AbortController();
    const { signal } = stopping;
    void (async () => {
      const seen = { scrapes: 0, samples: await scrape(url) };
      process.send?.("begun");
      while (!signal.aborted) {
        seen.samples = await scrape(url);
        seen.scrapes++;
      }
      process.send?.(seen);
    })();
  });
}

/** How many lines, nearly all of them samples, the answer held. It is read without keeping it: what reads must not become slow itself. */
async function scrape(url: string): Promise<number> {
  const [response] = (await once(get(url, { headers: { accept: "application/openmetrics-text" } }), "response")) as [
    AsyncIterable<Buffer>,
  ];
  let lines = 0;
  for await (const piece of response)
    for (let at = piece.indexOf(10); at !== -1; at = piece.indexOf(10, at + 1)) lines++;
  return lines;
}
