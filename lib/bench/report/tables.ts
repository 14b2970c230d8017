import { verdicts } from "../baseline.js";
import type { BenchParameters, BenchRow, BenchValue } from "../rows.js";
import { short, shownUnit, textOf } from "../table.js";
import { benchesOf, type ReportFile } from "./files.js";
import { differing, identifying, parameterNames, parametersText } from "./parameters.js";

/** The tables of a report. */

export interface Cell {
  text: string;
  /** What a number is sorted by; absent for text. */
  sort?: number;
  tone?: "good" | "bad";
}

export interface Table {
  title: string;
  note: string;
  columns: string[];
  rows: Cell[][];
}

const text = (value: unknown): Cell => ({ text: value === undefined || value === null ? "" : String(value) });

/** What each file says about its machine and versions: a column for each file. */
export function machineTable(files: readonly ReportFile[]): Table {
  const distinct = (values: readonly unknown[]) =>
    [...new Set(values.map((value) => String(value ?? "unknown")))].join(", ");
  const fact = (name: string, of: (row: BenchRow) => unknown): Cell[] => [
    text(name),
    ...files.map(({ rows }) => text(distinct(rows.map(of)))),
  ];
  const devices = files.some(({ rows }) => rows.some(({ about }) => about.device !== undefined));
  const constant = parameterNames(files.flatMap(({ rows }) => rows)).filter((name) =>
    files.every(({ rows }) => new Set(rows.map(({ parameters }) => parameters[name])).size === 1),
  );
  return {
    title: "Machines and versions",
    note: "",
    columns: ["", ...files.map(({ name }) => name)],
    rows: [
      [text("measured"), ...files.map(({ rows }) => text(times(rows.map(({ about }) => about.time))))],
      [text("rows"), ...files.map(({ rows }) => ({ text: String(rows.length), sort: rows.length }))],
      fact("processor", ({ about }) => about.cpu),
      fact("cores", ({ about }) => about.cores),
      fact("memory", ({ about }) => `${short(about.memoryBytes / 2 ** 30)} GiB`),
      ...(devices ? [fact("device", ({ about }) => about.device)] : []),
      fact("platform", ({ about }) => about.platform),
      fact("gpt-oss-node", ({ about }) => about.version),
      fact("commit", ({ about }) => about.commit),
      fact("Node", ({ about }) => about.node),
      ...constant.map((name) => fact(name, ({ parameters }) => parameters[name])),
    ],
  };
}

function times(all: readonly unknown[]): string {
  const known = all.filter((time) => typeof time === "string").sort();
  if (known.length === 0) return "unknown";
  const [first, last] = [known[0]!, known.at(-1)!].map((time) => time.slice(0, 16).replace("T", " "));
  return first === last ? `${first} UTC` : `${first} to ${last} UTC`;
}

/** The rows that the first file shares with another one: medians, and their ratio as a baseline judges it. */
export function ratioTable(files: readonly ReportFile[]): Table | null {
  const [first, ...others] = files;
  if (first === undefined || others.length === 0) return null;
  const known = matchable(files);
  const keys = new Map(known[0]!.map((row) => [keyOf(row), row]));
  const judged = known.slice(1).map((rows) => {
    const shared = rows.filter((row) => keys.has(keyOf(row)));
    return new Map(verdicts(shared, [...keys.values()]).map((verdict) => [keyOf(verdict.row), verdict]));
  });
  const shared = [...keys].filter(([key]) => judged.some((all) => all.has(key)));
  if (shared.length === 0) return null;
  const names = differing(shared.map(([, row]) => row));
  const rows = shared.map(([key, row]) => {
    const [value, median] = Object.entries(row.values)[0]!;
    return [
      text(row.name),
      ...names.map((name) => parameterCell(row.parameters[name])),
      text(value),
      valueCell(median, false),
      ...judged.flatMap((all): Cell[] => {
        const found = all.get(key);
        const now = found?.row.values[value];
        if (!found?.ratio || !now) return [text(""), text("")];
        const { ratio, low, high } = found.ratio;
        const tone = { faster: "good", slower: "bad", same: undefined, new: undefined }[found.verdict] as Cell["tone"];
        const judgement = `× ${short(ratio)} [${short(low)} .. ${short(high)}] ${found.verdict}`;
        return [valueCell(now, false), { text: judgement, sort: ratio, ...(tone && { tone }) }];
      }),
    ];
  });
  const differences = identifying(files.map((file) => file.rows)).map(
    (name) => `${name} ${files.map((file) => file.rows[0]!.parameters[name] ?? "none").join(" / ")}`,
  );
  return {
    title: `Beside ${first.name}`,
    note: [
      ...(differences.length > 0 ? [`The files differ in ${differences.join(", ")}.`] : []),
      `A ratio is the median divided by that of ${first.name}, with its interval of 99 % confidence.`,
    ].join(" "),
    columns: [
      "name",
      ...names,
      "value",
      first.name,
      ...others.flatMap(({ name }) => [name, `${name} / ${first.name}`]),
    ],
    rows,
  };
}

/** The rows of each file, without the parameters that only tell the files apart. */
function matchable(files: readonly ReportFile[]): BenchRow[][] {
  const all = files.map(() => [] as BenchRow[]);
  for (const bench of benchesOf(files)) {
    const own = files.map(({ rows }) => rows.filter((row) => row.bench === bench));
    const left = new Set(identifying(own.filter((rows) => rows.length > 0)));
    for (const [i, rows] of own.entries()) {
      for (const row of rows) {
        const kept = Object.entries(row.parameters).filter(([name]) => !left.has(name));
        all[i]!.push({ ...row, parameters: Object.fromEntries(kept) });
      }
    }
  }
  return all;
}

const keyOf = ({ bench, name, parameters }: BenchRow) =>
  JSON.stringify([bench, name, parametersText(parameters, Object.keys(parameters).sort())]);

/** Every row of a bench. Rows that lead with another value have a table of their own: they share few columns. */
export function rowTables(bench: string, files: readonly ReportFile[]): Table[] {
  const own = files.map(({ rows }) => rows.filter((row) => row.bench === bench));
  const leading = [...new Set(own.flat().map(leadingValue))];
  return leading.map((value) => {
    const rows = own.map((all) => all.filter((row) => leadingValue(row) === value));
    const names = [...new Set(rows.flat().map(({ name }) => name))];
    const title = leading.length > 1 ? `Rows of ${bench}: ${names.join(", ")}` : `Rows of ${bench}`;
    return rowTable(title, rows, files);
  });
}

const leadingValue = ({ values }: BenchRow) => Object.keys(values)[0]!;

/** The first value has its spread. */
function rowTable(title: string, own: readonly BenchRow[][], files: readonly ReportFile[]): Table {
  const all = own.flat();
  const told = files.length > 1 ? identifying(own.filter((rows) => rows.length > 0)) : []; // by the names of the files
  const names = differing(all).filter((name) => !told.includes(name));
  const values = [...new Set(all.flatMap((row) => Object.keys(row.values)))];
  const units = values.map((name) => all.find((row) => row.values[name])!.values[name]!.unit);
  const common = parameterNames(all).filter((name) => ![...names, ...told].includes(name));
  return {
    title,
    note: parametersText(all[0]!.parameters, common),
    columns: [
      ...(files.length > 1 ? ["file"] : []),
      "name",
      ...names,
      ...values.map((name, i) => `${name} ${shownUnit(units[i]!).name}`),
    ],
    rows: own.flatMap((rows, file) =>
      rows.map((row) => [
        ...(files.length > 1 ? [text(files[file]!.name)] : []),
        text(row.name),
        ...names.map((name) => parameterCell(row.parameters[name])),
        ...values.map((name, i) => {
          const value = row.values[name];
          return value ? valueCell(value, i === 0, units[i]) : text("");
        }),
      ]),
    ),
  };
}

function parameterCell(value: BenchParameters[string] | undefined): Cell {
  return { ...text(value), ...(typeof value === "number" && { sort: value }) };
}

/** `known`: the unit that the column already names. */
function valueCell(value: BenchValue, withSpread: boolean, known?: string): Cell {
  const unit = value.unit === known ? "" : ` ${shownUnit(value.unit).name}`;
  return { text: textOf(value, withSpread) + unit, sort: value.median };
}

export function tablesOf(files: readonly ReportFile[]): { machines: Table; ratios: Table | null; rows: Table[] } {
  return {
    machines: machineTable(files),
    ratios: ratioTable(files),
    rows: benchesOf(files).flatMap((bench) => rowTables(bench, files)),
  };
}
