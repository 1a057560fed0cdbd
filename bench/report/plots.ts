/** Plots as inline SVG that takes its colours from the page. Pure. */
import { isBuiltIn, type Variant } from "../model.ts";
import { show } from "./figures.ts";

const width = 640;
const height = 300;
/** Narrower bars could not carry their figures. */
const narrowestBar = 40;

/** Where is drawn, inside the labels of the axes. */
function areaOf(plotWidth: number) {
  return { left: 64, right: plotWidth - 16, top: 24, bottom: height - 36 } as const;
}
const area = areaOf(width);

export interface Bar {
  readonly variant: Variant;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface BarGroup {
  readonly label: string;
  readonly bars: readonly Bar[];
}

export interface Series {
  readonly variant: Variant;
  readonly points: readonly (readonly [number, number])[];
}

export interface LineOptions {
  readonly title: string;
  readonly unit: string;
  /** Where the axis is marked, and with what. */
  readonly xTicks: readonly (readonly [number, string])[];
}

/** A colour class per variant: known ones keep theirs in every plot. */
export function colourClass(variant: Variant): string {
  return isBuiltIn(variant) ? `v-${variant}` : "v-peer";
}

export function escapeMarkup(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** Groups of bars from zero, with whiskers from the lowest round to the highest; as wide as two plots where there are many. Empty when there is nothing to draw. */
export function barPlot(title: string, unit: string, groups: readonly BarGroup[]): string {
  const bars = groups.flatMap((group) => group.bars);
  const top = Math.max(0, ...bars.map(({ high }) => high));
  if (bars.length === 0 || !(top > 0)) return "";
  const ticks = linearTicks(top);
  const scale = linear(0, ticks.at(-1) ?? top, area.bottom, area.top);
  const isWide = bars.length * narrowestBar > (area.right - area.left) * 0.8;
  const { left, right } = isWide ? areaOf(2 * width) : area;
  const parts = [
    yAxis(
      ticks.map((value) => [scale(value), show(value)]),
      right,
    ),
  ];
  const groupWidth = (right - left) / groups.length;
  groups.forEach((group, at) => {
    const barWidth = Math.min(64, (groupWidth * 0.8) / Math.max(1, group.bars.length));
    const middle = left + groupWidth * (at + 0.5);
    group.bars.forEach((bar, index) => {
      const x = middle + (index - group.bars.length / 2) * barWidth;
      const y = scale(bar.value);
      const whisker = x + barWidth / 2;
      parts.push(
        `<rect class="${colourClass(bar.variant)}" x="${px(x + 1)}" y="${px(y)}" width="${px(barWidth - 2)}" height="${px(Math.max(0, area.bottom - y))}"><title>${escapeMarkup(`${bar.variant}, ${group.label}: ${show(bar.value)} ${unit} (${show(bar.low)}–${show(bar.high)})`)}</title></rect>`,
        `<path class="whisker" d="M${px(whisker)} ${px(scale(bar.low))}V${px(scale(bar.high))}"/>`,
        `<text class="value" x="${px(whisker)}" y="${px(Math.min(y, scale(bar.high)) - 4)}">${show(bar.value)}</text>`,
      );
    });
    parts.push(`<text class="tick" x="${px(middle)}" y="${area.bottom + 22}">${escapeMarkup(group.label)}</text>`);
  });
  return svg(`${title}, ${unit}`, parts, isWide ? 2 * width : width);
}

/** Lines over a logarithmic y axis. Points that such an axis does not have are left out. */
export function linePlot({ title, unit, xTicks }: LineOptions, series: readonly Series[]): string {
  const shown = series
    .map((one) => ({ ...one, points: one.points.filter(([, y]) => y > 0) }))
    .filter(({ points }) => points.length > 0);
  const ys = shown.flatMap(({ points }) => points.map(([, y]) => y));
  const xs = [...shown.flatMap(({ points }) => points.map(([x]) => x)), ...xTicks.map(([x]) => x)];
  if (ys.length === 0) return "";
  const [low, high] = [Math.floor(Math.log10(Math.min(...ys))), Math.ceil(Math.log10(Math.max(...ys)))];
  const yScale = linear(low, Math.max(high, low + 1), area.bottom, area.top);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const xScale = linear(first, last > first ? last : first + 1, area.left + 8, area.right - 8);
  const decades = Array.from({ length: Math.max(high, low + 1) - low + 1 }, (_, index) => low + index);
  const parts = [
    yAxis(
      decades.map((decade) => [yScale(decade), show(10 ** decade)]),
      area.right,
    ),
  ];
  for (const [x, label] of xTicks)
    parts.push(`<text class="tick" x="${px(xScale(x))}" y="${area.bottom + 22}">${escapeMarkup(label)}</text>`);
  for (const { variant, points } of shown) {
    const path = points
      .map(([x, y], index) => `${index === 0 ? "M" : "L"}${px(xScale(x))} ${px(yScale(Math.log10(y)))}`)
      .join("");
    parts.push(`<path class="line ${colourClass(variant)}" d="${path}"><title>${escapeMarkup(variant)}</title></path>`);
    // A line of one point would not be seen.
    for (const [x, y] of points.length <= 8 ? points : [])
      parts.push(
        `<circle class="${colourClass(variant)}" cx="${px(xScale(x))}" cy="${px(yScale(Math.log10(y)))}" r="4"><title>${escapeMarkup(`${variant}: ${show(y)}`)}</title></circle>`,
      );
  }
  return svg(`${title}, ${unit}`, parts, width);
}

/** From zero to at least `top`, four or so round steps. */
export function linearTicks(top: number): number[] {
  const rough = top / 4;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * magnitude).find((candidate) => candidate >= rough) ?? rough;
  const count = Math.ceil(top / step);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

function linear(from: number, to: number, start: number, end: number): (value: number) => number {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

function yAxis(ticks: readonly (readonly [number, string])[], right: number): string {
  const lines = ticks.map(
    ([y, text]) =>
      `<path class="grid" d="M${area.left} ${px(y)}H${right}"/><text class="tick y" x="${area.left - 8}" y="${px(y + 4)}">${escapeMarkup(text)}</text>`,
  );
  return lines.join("");
}

function svg(title: string, parts: readonly string[], plotWidth: number): string {
  const label = escapeMarkup(title);
  const wide = plotWidth > width ? ' class="two"' : "";
  return `<figure${wide}><figcaption>${label}</figcaption><svg viewBox="0 0 ${plotWidth} ${height}" role="img" aria-label="${label}">${parts.join("")}</svg></figure>`;
}

function px(value: number): string {
  return String(Number(value.toFixed(1)));
}
