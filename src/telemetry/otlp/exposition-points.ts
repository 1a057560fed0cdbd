/**
 * The page that scrapers read, as data points of OpenTelemetry. What is sent is read from that page and from nowhere else, so that the
 * two cannot disagree. Counters and histograms are cumulative: each of their series remembers when it began to count, which is the
 * start of the process for those of the first reading, and the reading before for one that came later or went back.
 */
import { type Attributes, ValueType } from "@opentelemetry/api";
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
} from "@opentelemetry/sdk-metrics";
import { hrTime } from "./collector.ts";

interface Series {
  readonly attributes: Attributes;
  /** What is left of a sample's name behind its family's: `_bucket`, `_sum`, `_count` of a histogram. */
  readonly part: string;
  /** Of a bucket: its upper bound, and the series without it. */
  readonly le: number;
  readonly group: string;
  last: number;
  startMs: number;
  reading: number;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly points: DataPoint<number>[];
  readonly histograms: Map<string, Gathered>;
}

/** A histogram while its samples come in; the counts of its buckets are still cumulative over the bounds. */
interface Gathered {
  readonly attributes: Attributes;
  startMs: number;
  readonly bounds: number[];
  readonly upTo: number[];
  sum: number;
  count: number;
}

const labelForm = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const escapes: Readonly<Record<string, string>> = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

export class ExpositionPoints {
  readonly #series = new Map<string, Series>();
  #readings = 0;
  /** When the last reading was; before the first, when counting began. */
  #lastMs: number;

  constructor(startMs: number) {
    this.#lastMs = startMs;
  }

  /** Pieces are whole lines of the classic text format; a family may go on in the next piece. */
  async read(pieces: AsyncIterable<string | Buffer>, nowMs: number): Promise<MetricData[]> {
    this.#readings++;
    const families: Family[] = [];
    let help = "";
    for await (const piece of pieces) {
      for (const line of piece.toString().split("\n")) {
        if (line.startsWith("# HELP ")) help = textAfter(line, 2);
        else if (line.startsWith("# TYPE ")) {
          const [, , name = "", type = ""] = line.split(" ");
          families.push({ name, help, type, points: [], histograms: new Map() });
          help = "";
        } else if (line !== "" && !line.startsWith("#")) {
          const family = families.at(-1);
          if (family !== undefined) this.#sample(family, line, nowMs);
        }
      }
    }
    for (const [key, { reading }] of this.#series) if (reading !== this.#readings) this.#series.delete(key);
    this.#lastMs = nowMs;
    return families.map((family) => dataOf(family, nowMs)).filter(({ dataPoints }) => dataPoints.length > 0);
  }

  #sample(family: Family, line: string, nowMs: number): void {
    const at = line.lastIndexOf(" ");
    const key = line.slice(0, at);
    const value = numberOf(line.slice(at + 1));
    const series = this.#series.get(key) ?? this.#add(key, family);
    // Whatever counts starts anew from nothing when it is less than before.
    if (value < series.last && series.le === Number.POSITIVE_INFINITY) series.startMs = this.#lastMs;
    series.last = value;
    series.reading = this.#readings;
    if (family.type !== "histogram") {
      const startTime = hrTime(family.type === "counter" ? series.startMs : nowMs);
      family.points.push({ startTime, endTime: hrTime(nowMs), attributes: series.attributes, value });
      return;
    }
    const { attributes, startMs } = series;
    const histogram = family.histograms.get(series.group) ?? emptyHistogram(attributes, startMs);
    family.histograms.set(series.group, histogram);
    if (series.part === "_sum") histogram.sum = value;
    else if (series.part === "_count") {
      histogram.count = value;
      histogram.startMs = startMs;
    } else {
      histogram.bounds.push(series.le);
      histogram.upTo.push(value);
    }
  }

  #add(key: string, family: Family): Series {
    const brace = key.indexOf("{");
    const name = brace === -1 ? key : key.slice(0, brace);
    const attributes: Attributes = {};
    let le = Number.POSITIVE_INFINITY;
    const group: string[] = [];
    for (const [, label = "", text = ""] of key.slice(name.length).matchAll(labelForm)) {
      const value = text.includes("\\") ? text.replaceAll(/\\[n"\\]/g, (written) => escapes[written] ?? written) : text;
      if (family.type === "histogram" && label === "le") le = numberOf(value);
      else {
        attributes[label] = value;
        group.push(`${label}=${text}`);
      }
    }
    const series: Series = {
      attributes,
      part: name.slice(family.name.length),
      le,
      group: group.join(),
      last: 0,
      startMs: this.#lastMs,
      reading: this.#readings,
    };
    this.#series.set(key, series);
    return series;
  }
}

function dataOf({ name, help, type, points, histograms }: Family, nowMs: number): MetricData {
  const descriptor = { name, description: help, unit: "", valueType: ValueType.DOUBLE };
  const aggregationTemporality = AggregationTemporality.CUMULATIVE;
  if (type === "histogram") {
    const dataPoints = Array.from(histograms.values(), (one) => histogramPoint(one, nowMs));
    return { descriptor, aggregationTemporality, dataPointType: DataPointType.HISTOGRAM, dataPoints };
  }
  if (type === "counter") {
    const dataPointType = DataPointType.SUM;
    return { descriptor, aggregationTemporality, dataPointType, isMonotonic: true, dataPoints: points };
  }
  return { descriptor, aggregationTemporality, dataPointType: DataPointType.GAUGE, dataPoints: points };
}

/** OpenTelemetry counts each bucket alone, and the last one has no bound. */
function histogramPoint(
  { attributes, startMs, bounds, upTo, sum, count }: Gathered,
  nowMs: number,
): DataPoint<Histogram> {
  const finite = bounds.filter((bound) => Number.isFinite(bound));
  const counts = [...upTo.slice(0, finite.length), count].map((all, index) => all - (upTo[index - 1] ?? 0));
  const value = { buckets: { boundaries: finite, counts }, sum, count };
  return { startTime: hrTime(startMs), endTime: hrTime(nowMs), attributes, value };
}

function emptyHistogram(attributes: Attributes, startMs: number): Gathered {
  return { attributes, startMs, bounds: [], upTo: [], sum: 0, count: 0 };
}

function textAfter(line: string, words: number): string {
  let at = 0;
  for (let word = 0; word <= words; word++) at = line.indexOf(" ", at) + 1;
  return at === 0 ? "" : line.slice(at);
}

function numberOf(text: string): number {
  if (text === "+Inf") return Number.POSITIVE_INFINITY;
  return text === "-Inf" ? Number.NEGATIVE_INFINITY : Number(text);
}
