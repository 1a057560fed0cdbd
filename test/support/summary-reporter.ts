import type { Reporter, TestModule, TestRunEndReason } from "vitest/node";

/**
 * Ends the output with the one line that CI reads, `N passed, N failed`, and makes the run fail when a test was skipped or none
 * ran: a green run must mean that everything was tested here.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[], reason: TestRunEndReason): void {
    let passed = 0;
    let failed = unhandled.length;
    const skipped: string[] = [];
    for (const module of modules) {
      if (module.state() === "failed" && module.children.size === 0) failed += 1;
      for (const test of module.children.allTests()) {
        const state = test.result().state;
        if (state === "passed") passed += 1;
        else if (state === "failed") failed += 1;
        else skipped.push(test.fullName);
      }
    }
    if (reason === "interrupted") failed += 1;
    for (const name of skipped) process.stdout.write(`not run, which counts as failed: ${name}\n`);
    failed += skipped.length;
    if (failed > 0 || passed === 0) process.exitCode = 1;
    process.stdout.write(`${passed} passed, ${failed} failed\n`);
  }
}
