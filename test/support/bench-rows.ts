import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { expect } from "vitest";
import type { BenchRow } from "../../lib/bench/rows.js";

const validate = new Ajv({ allowUnionTypes: true }).compile(
  JSON.parse(readFileSync("docs/bench-row.schema.json", "utf8")),
);

/** The rows that a bench printed with --json; each is of the schema that docs/bench-row.schema.json gives. */
export function rowsOf(stdout: string): BenchRow[] {
  const rows = stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as BenchRow]));
  for (const row of rows) expect(validate(row), JSON.stringify(validate.errors)).toBe(true);
  return rows;
}
