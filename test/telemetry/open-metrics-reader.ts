/** A strict reader of OpenMetrics 1.0 text, as far as counters, gauges and histograms go; it takes nothing that the specification forbids. */

const metricName = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const label = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"`;
const sampleForm = new RegExp(`^(${metricName})(?:\\{(${label}(?:,${label})*)?\\})? (\\S+)$`);
const numberForm = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?Inf|NaN)$/;
const suffixes: Readonly<Record<string, readonly string[]>> = {
  counter: ["_total", "_created"],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count", "_created"],
};

/** The lines of samples; throws at the first thing that is wrong. */
export function readOpenMetrics(text: string): readonly string[] {
  if (!text.endsWith("\n# EOF\n")) throw new Error("does not end with # EOF");
  const samples: string[] = [];
  const taken = new Set<string>();
  const seen = new Set<string>();
  let family: { readonly name: string; type?: string; help?: true } | undefined;
  for (const line of text.slice(0, -"# EOF\n".length).trimEnd().split("\n")) {
    const wrong = (why: string) => new Error(`${why}: ${line}`);
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/.exec(line) ?? [];
    if (word !== undefined) {
      if (family?.name !== name) {
        if (taken.has(name)) throw wrong("a family in two places");
        taken.add(name);
        family = { name };
      }
      if (word === "HELP") {
        if (/(^|[^\\])"|\\[^"\\n]/.test(rest.replaceAll("\\\\", ""))) throw wrong("an unescaped help text");
        family.help = true;
      } else {
        const known = suffixes[rest];
        if (known === undefined) throw wrong("an unknown type");
        family.type = rest;
        for (const suffix of known.filter((one) => one !== "")) {
          if (taken.has(name + suffix)) throw wrong("a sample's name is another family's");
          taken.add(name + suffix);
        }
        if (rest === "counter" && name.endsWith("_total")) throw wrong("a counter's family with its samples' suffix");
      }
      continue;
    }
    const [, sample = "", labels = "", value = ""] = sampleForm.exec(line) ?? [];
    if (sample === "") throw wrong("no sample");
    if (!numberForm.test(value)) throw wrong("no number");
    const { name: of = "", type = "" } = family ?? {};
    const suffix = sample.startsWith(of) ? sample.slice(of.length) : undefined;
    if (suffix === undefined || suffixes[type]?.includes(suffix) !== true)
      throw wrong("a sample outside of its family");
    if (type === "counter" && !(Number(value) >= 0)) throw wrong("a counter below zero, or none");
    if (suffix === "_bucket" && !/(^|,)le="(\d+\.\d+|\+Inf)"/.test(labels)) throw wrong("a bucket without its bound");
    if (seen.has(`${sample}{${labels}`)) throw wrong("a sample twice");
    seen.add(`${sample}{${labels}`);
    samples.push(line);
  }
  return samples;
}
