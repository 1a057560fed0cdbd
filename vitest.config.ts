import { defineConfig } from "vitest/config";

/**
 * Two projects: `unit` is pure or loopback-only and runs in parallel; `kernel` makes network namespaces, cgroups and BPF
 * programs, needs root, and runs one file at a time because the machine has one kernel. Fuzzers, sanitizers and the soak test are
 * there because each of them wants the machine for itself.
 */
const kernel = ["capture", "lab", "integration", "fuzz", "native", "soak"].map((part) => `test/${part}/**/*.test.ts`);

export default defineConfig({
  test: {
    pool: "forks",
    // A condition is waited for as long as a machine that stalls may need; a condition that holds ends the wait at once.
    expect: { poll: { timeout: 30_000 } },
    reporters: ["default", "./test/support/summary-reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: kernel,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: { name: "kernel", include: kernel, fileParallelism: false, testTimeout: 180_000, hookTimeout: 300_000 },
      },
    ],
  },
});
