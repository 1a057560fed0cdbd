/** Sizes as people write them (`64KiB`, `1MiB`, `4096`) and as programs keep them: bytes. */

const units = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** Bytes, or undefined when the text is not a whole number with an optional unit B, KiB, MiB or GiB. */
export function parseByteSize(text: string): number | undefined {
  const parts = /^(\d+)(B|KiB|MiB|GiB)?$/.exec(text);
  if (parts === null) return undefined;
  const bytes = Number(parts[1]) * units[(parts[2] ?? "B") as keyof typeof units];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The largest unit that leaves a whole number, so that `parseByteSize` reads the same number back. */
export function formatByteSize(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"] as const) {
    if (bytes >= units[unit] && bytes % units[unit] === 0) return `${bytes / units[unit]}${unit}`;
  }
  return `${bytes}B`;
}
