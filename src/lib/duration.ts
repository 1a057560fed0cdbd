/** Durations as people write them (`500ms`, `1m30s`, `24h`) and as programs keep them: milliseconds. */

const units = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
] as const;

const pattern = new RegExp(`^${units.map(([unit]) => `(?:(\\d+(?:\\.\\d+)?)${unit})?`).join("")}$`);

/** The longest that a timer can wait (2^31-1 ms); a longer one would fire at once. */
export const longestTimerMs = 2_147_483_647;

/** Milliseconds of `1h2m3s4ms`, each unit at most once and the larger first; undefined when the text is not a duration. `0` needs no unit. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  const parts = text === "" ? null : pattern.exec(text);
  if (parts === null) return undefined;
  return Math.round(units.reduce((sum, [, size], index) => sum + Number(parts[index + 1] ?? 0) * size, 0));
}

/** The shortest text that `parseDuration` reads back to the same number of milliseconds. */
export function formatDuration(milliseconds: number): string {
  let rest = Math.round(milliseconds);
  if (rest === 0) return "0s";
  let text = rest < 0 ? "-" : "";
  rest = Math.abs(rest);
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}
