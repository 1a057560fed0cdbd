/** Turns of the event loop since the call, until `stop`. */
export function countTurns(): { turns: number; stop(): void } {
  let going = true;
  const counted = {
    turns: 0,
    stop: () => {
      going = false;
    },
  };
  const turn = () => {
    counted.turns += 1;
    if (going) setImmediate(turn);
  };
  setImmediate(turn);
  return counted;
}
