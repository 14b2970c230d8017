import type { Checker } from "./checker.js";

/** What a run found, for a person. @param isWhole whether all tests of the server ran */
export function report(checker: Checker, { isWhole }: { isWhole: boolean }): { text: string; isRight: boolean } {
  const lines = [...checker.checked].sort().map(([operation, count]) => `${String(count).padStart(8)}  ${operation}`);
  const { violations } = checker;
  for (const { operation, field, message, count, example } of violations) {
    lines.push(`VIOLATION ${operation}: ${field || "(the whole)"} ${message} (${count} times), as in ${example}`);
  }
  const unused = isWhole ? checker.unused : [];
  for (const { operation, field, reason } of unused) {
    lines.push(`NOT NEEDED: the allowance of ${operation ?? "any operation:"} ${field} (${reason})`);
  }
  if (checker.checked.size === 0) lines.push("NOTHING was checked");
  const count = [...checker.checked.values()].reduce((sum, each) => sum + each, 0);
  lines.push(`${count} bodies and events, ${violations.length} kinds of violations`);
  return {
    text: `${lines.join("\n")}\n`,
    isRight: violations.length === 0 && unused.length === 0 && checker.checked.size > 0,
  };
}
