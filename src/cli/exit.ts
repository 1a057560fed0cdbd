/** How a verb's action reports its exit code; not calling it means 0. */
export type Exit = (code: number) => void;
