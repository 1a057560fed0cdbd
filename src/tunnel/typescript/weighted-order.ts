/** The order in which targets are tried: by weight, and of two that chance proposes the one with less to do. */

export interface Weighted {
  readonly weight: number;
}

/**
 * All targets, each once; those of weight 0 come last. `load` is what a target has open now; two draws by weight and the less
 * loaded of them keeps a burst from piling up on one target without comparing all of them.
 */
export function weightedOrder<T extends Weighted>(
  targets: readonly T[],
  load: (target: T) => number,
  random: () => number,
): T[] {
  if (targets.length < 2) return [...targets];
  const left = [...targets];
  const order: T[] = [];
  while (left.length > 0) {
    const one = draw(left, random);
    const other = draw(left, random);
    const chosen = relativeLoad(other, load) < relativeLoad(one, load) ? other : one;
    order.push(chosen);
    left.splice(left.indexOf(chosen), 1);
  }
  return order;
}

function relativeLoad<T extends Weighted>(target: T, load: (target: T) => number): number {
  return target.weight > 0 ? load(target) / target.weight : Number.POSITIVE_INFINITY;
}

function draw<T extends Weighted>(targets: readonly T[], random: () => number): T {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0);
  let point = random() * total;
  for (const target of targets) {
    point -= target.weight;
    if (point < 0) return target;
  }
  // Rounding, or nothing but weights of 0.
  return targets[targets.length - 1] as T;
}
