/** The other side of `scrape.ts`: the application, whoever connects to it through the engine, and the scraper in a process of its own. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { get } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { quantile } from "../statistics.ts";

export interface ScrapeClients {
  /** Where the pod's connections are captured. */
  readonly pod: { readonly address: string; readonly port: number };
  readonly url: string;
  /** Connections that stand by and are counted at each scrape. */
  readonly open: number;
  readonly rounds: number;
  /** Of each kind in each turn of a round. */
  readonly messages: number;
  readonly connections: number;
}

const conditions = ["alone", "each-second", "classic", "openmetrics"] as const;
export type ScrapeCondition = (typeof conditions)[number];

interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface ScrapeReport {
  readonly scrapes: number;
  /** Lines of an answer, nearly all of them samples. */
  readonly samples: number;
  /** Milliseconds. */
  readonly openMs: Readonly<Record<ScrapeCondition, Times>>;
  readonly newMs: Readonly<Record<ScrapeCondition, Times>>;
}

/** How it is scraped; 0 for back to back. */
interface Scraping {
  readonly accept: string;
  readonly everyMs: number;
}

const scrapings: Readonly<Record<Exclude<ScrapeCondition, "alone">, Scraping>> = {
  "each-second": { accept: "application/openmetrics-text", everyMs: 1000 },
  classic: { accept: "text/plain", everyMs: 0 },
  openmetrics: { accept: "application/openmetrics-text", everyMs: 0 },
};
/** Between connections: a turn has to last as long as a scrape and longer, or it would see but a part of one. */
const connectEveryMs = 5;
/** Scrapes that are begun and not ended would not be seen in a turn that is too short. */
const atOnce = 64;

interface Scraped {
  readonly scrapes: number;
  readonly samples: number;
}

if (process.argv[2] === "scrape") scrapeWhenTold();
else {
  const application = createServer((socket) =>
    socket
      .setNoDelay()
      .on("error", () => {})
      .pipe(socket),
  );
  application.listen(0, "127.0.0.1");
  await once(application, "listening");
  const { address, port } = application.address() as AddressInfo;
  process.send?.({ application: { address, port } });
  const [asked] = (await once(process, "message")) as [ScrapeClients];
  process.send?.(await measure(asked));
  application.close();
  process.once("disconnect", () => process.exit());
}

async function measure({ pod, url, open, rounds, messages, connections }: ScrapeClients): Promise<ScrapeReport> {
  const idle: Socket[] = [];
  while (idle.length < open) {
    idle.push(...(await Promise.all(Array.from({ length: Math.min(atOnce, open - idle.length) }, () => opened(pod)))));
  }
  const held = await opened(pod);
  const scraper = fork(new URL(import.meta.url), ["scrape"]);
  const times = { open: byCondition(), new: byCondition() };
  await pings(held, messages);
  await connects(pod, connections);
  let seen: Scraped = { scrapes: 0, samples: 0 };
  for (let round = 0; round < rounds; round++) {
    for (const condition of conditions) {
      if (condition !== "alone") await tell(scraper, { url, ...scrapings[condition] });
      for (let connection = 0; connection < connections; connection++) {
        times.open[condition].push(...(await pings(held, messages / connections)));
        times.new[condition].push(...(await connects(pod, 1)));
        await setTimeout(connectEveryMs);
      }
      if (condition === "alone") continue;
      const { scrapes, samples } = await tell(scraper, "stop");
      seen = { scrapes: seen.scrapes + scrapes, samples };
    }
  }
  scraper.disconnect();
  for (const socket of [...idle, held]) socket.destroy();
  return { ...seen, openMs: summary(times.open), newMs: summary(times.new) };
}

function byCondition(): Record<ScrapeCondition, number[]> {
  return { alone: [], "each-second": [], classic: [], openmetrics: [] };
}

function summary(times: Record<ScrapeCondition, number[]>): Record<ScrapeCondition, Times> {
  const at = (values: number[], share: number) => Number((quantile(values, share) ?? 0).toFixed(3));
  const of = (values: number[]) => ({ p50: at(values, 0.5), p99: at(values, 0.99), max: at(values, 1) });
  return {
    alone: of(times.alone),
    "each-second": of(times["each-second"]),
    classic: of(times.classic),
    openmetrics: of(times.openmetrics),
  };
}

/** Open as far as the application: a byte has come back. */
async function opened(to: ScrapeClients["pod"]): Promise<Socket> {
  const socket = connect({ port: to.port, host: to.address, noDelay: true });
  const back = once(socket, "data");
  socket.write("x");
  await back;
  return socket;
}

/** Milliseconds of each round trip of one byte, one after the other. */
async function pings(socket: Socket, count: number): Promise<number[]> {
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

/** Milliseconds from the first SYN to the first byte that the application sent back. */
async function connects(to: ScrapeClients["pod"], count: number): Promise<number[]> {
  const took: number[] = [];
  for (let index = 0; index < count; index++) {
    const began = performance.now();
    const socket = await opened(to);
    took.push(performance.now() - began);
    socket.destroy();
  }
  return took;
}

async function tell(scraper: ChildProcess, what: unknown): Promise<Scraped> {
  const answer = once(scraper, "message");
  scraper.send(what as object);
  const [told] = (await answer) as [Scraped];
  return told;
}

/** One scrape after the other, or one each second, from an order to "stop"; answers when the first has been answered, and with the count at the end. */
function scrapeWhenTold(): void {
  let stopping = new AbortController();
  process.on("message", (told: "stop" | (Scraping & { readonly url: string })) => {
    stopping.abort();
    if (told === "stop") return;
    stopping = new AbortController();
    const { signal } = stopping;
    void (async () => {
      const seen = { scrapes: 0, samples: await scrape(told.url, told.accept) };
      process.send?.(seen);
      while (!signal.aborted) {
        const next = setTimeout(told.everyMs, undefined, { signal }).catch(() => {});
        seen.samples = await scrape(told.url, told.accept);
        seen.scrapes++;
        if (told.everyMs > 0) await next;
      }
      process.send?.(seen);
    })();
  });
}

/** How many lines the answer held. It is read without keeping it: what reads must not become slow itself. */
async function scrape(url: string, accept: string): Promise<number> {
  const [response] = (await once(get(url, { headers: { accept } }), "response")) as [AsyncIterable<Buffer>];
  let lines = 0;
  for await (const piece of response) {
    for (let at = piece.indexOf(10); at !== -1; at = piece.indexOf(10, at + 1)) lines++;
  }
  return lines;
}
