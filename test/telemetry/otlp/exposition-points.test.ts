import { describe, expect, it } from "vitest";
import { ExpositionPoints } from "../../../src/telemetry/otlp/exposition-points.ts";

const began = 1_000_000;
const at = (seconds: number) => began + seconds * 1000;

async function* page(...pieces: string[]): AsyncGenerator<string, void, void> {
  yield* pieces;
}

/** Start of each point in seconds from the beginning, and its value, by family. */
async function read(of: ExpositionPoints, seconds: number, ...pieces: string[]) {
  const families = await of.read(page(...pieces), at(seconds));
  return Object.fromEntries(
    families.map(({ descriptor, dataPoints }) => [
      descriptor.name,
      dataPoints.map(({ startTime: [start], attributes, value }) => ({
        start: start - began / 1000,
        ...attributes,
        value,
      })),
    ]),
  );
}

const counter = (value: number, name = "a") =>
  `# HELP c_total Things.\n# TYPE c_total counter\nc_total{of="${name}"} ${value}\n`;

describe("the page of metrics as data points", () => {
  it("keeps names, help and kinds, and goes on with a family in the next piece", async () => {
    const families = await new ExpositionPoints(began).read(
      page(
        '# HELP c_total Things with "quotes".\n# TYPE c_total counter\nc_total{of="a"} 1\n',
        'c_total{of="b"} 2\n# HELP g What is.\n# TYPE g gauge\ng 0.5\n# TYPE empty counter\n',
      ),
      at(3),
    );
    expect(families).toMatchObject([
      {
        descriptor: { name: "c_total", description: 'Things with "quotes".', unit: "" },
        dataPointType: 3,
        isMonotonic: true,
        aggregationTemporality: 1,
        dataPoints: [
          { attributes: { of: "a" }, value: 1, startTime: [1000, 0], endTime: [1003, 0] },
          { attributes: { of: "b" }, value: 2, startTime: [1000, 0], endTime: [1003, 0] },
        ],
      },
      {
        descriptor: { name: "g", description: "What is." },
        dataPointType: 2,
        dataPoints: [{ attributes: {}, value: 0.5 }],
      },
    ]);
  });

  it("reads escapes, spaces, commas and braces in label values, and numbers that are none", async () => {
    const text = 'g{a="x\\"y\\\\z\\nw",b="p q, r=\\"s\\"}",c=""} NaN\ng{a="i"} +Inf\ng{a="m"} -Inf\ng{a="e"} 1.5e-7\n';
    const [family] = await new ExpositionPoints(began).read(page(`# TYPE g gauge\n${text}`), at(1));
    expect(family?.dataPoints.map(({ attributes, value }) => ({ ...attributes, value }))).toEqual([
      { a: 'x"y\\z\nw', b: 'p q, r="s"}', c: "", value: Number.NaN },
      { a: "i", value: Number.POSITIVE_INFINITY },
      { a: "m", value: Number.NEGATIVE_INFINITY },
      { a: "e", value: 1.5e-7 },
    ]);
  });

  it("makes buckets that count alone out of those that count all below", async () => {
    const text = `# HELP h How long.
# TYPE h histogram
h_bucket{le="0.5",by="in"} 2
h_bucket{le="1",by="in"} 5
h_bucket{le="+Inf",by="in"} 6
h_sum{by="in"} 4.25
h_count{by="in"} 6
h_bucket{le="0.5",by="out"} 0
h_bucket{le="1",by="out"} 0
h_bucket{le="+Inf",by="out"} 0
h_sum{by="out"} 0
h_count{by="out"} 0
`;
    const [family] = await new ExpositionPoints(began).read(page(text), at(1));
    expect(family).toMatchObject({
      descriptor: { name: "h" },
      dataPointType: 0,
      dataPoints: [
        {
          attributes: { by: "in" },
          startTime: [1000, 0],
          value: { buckets: { boundaries: [0.5, 1], counts: [2, 3, 1] }, sum: 4.25, count: 6 },
        },
        {
          attributes: { by: "out" },
          value: { buckets: { boundaries: [0.5, 1], counts: [0, 0, 0] }, sum: 0, count: 0 },
        },
      ],
    });
  });

  it("starts a series at the reading before the one that it came with, and again after it was gone or went back", async () => {
    const points = new ExpositionPoints(began);
    expect(await read(points, 10, counter(4))).toEqual({ c_total: [{ start: 0, of: "a", value: 4 }] });
    expect(await read(points, 20, counter(9), 'c_total{of="b"} 1\n')).toEqual({
      c_total: [
        { start: 0, of: "a", value: 9 },
        { start: 10, of: "b", value: 1 },
      ],
    });
    expect(await read(points, 30, counter(2), 'c_total{of="b"} 1\n')).toEqual({
      c_total: [
        { start: 20, of: "a", value: 2 },
        { start: 10, of: "b", value: 1 },
      ],
    });
    expect(await read(points, 40, counter(3))).toEqual({ c_total: [{ start: 20, of: "a", value: 3 }] });
    expect((await read(points, 50, counter(3), 'c_total{of="b"} 1\n'))["c_total"]?.[1]).toEqual({
      start: 40,
      of: "b",
      value: 1,
    });
  });

  it("starts a histogram anew as a whole when its count went back", async () => {
    const histogram = (count: number) =>
      `# TYPE h histogram\nh_bucket{le="1"} ${count}\nh_bucket{le="+Inf"} ${count}\nh_sum ${count}\nh_count ${count}\n`;
    const points = new ExpositionPoints(began);
    await points.read(page(histogram(5)), at(10));
    const [family] = await points.read(page(histogram(2)), at(20));
    expect(family?.dataPoints[0]).toMatchObject({ startTime: [1010, 0], value: { count: 2 } });
  });

  it("ends a gauge where it begins", async () => {
    expect(await read(new ExpositionPoints(began), 7, "# TYPE g gauge\ng 3\n")).toEqual({
      g: [{ start: 7, value: 3 }],
    });
  });
});
