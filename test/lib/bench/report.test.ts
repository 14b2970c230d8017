import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readRows } from "../../../lib/bench/baseline.js";
import { logOf, sharedColumns } from "../../../lib/bench/report/chart.js";
import { fileNames, type ReportFile } from "../../../lib/bench/report/files.js";
import { escaped, jsonText, reportPage } from "../../../lib/bench/report/page.js";
import { differingWithin, identifying, titleOf } from "../../../lib/bench/report/parameters.js";
import { intensityOf, roofline, roofsOf } from "../../../lib/bench/report/roofline.js";
import { type Section, sectionsOf } from "../../../lib/bench/report/sections.js";
import { sweepsOf } from "../../../lib/bench/report/sweeps.js";
import { ratioTable, rowTables, type Table, tablesOf } from "../../../lib/bench/report/tables.js";
import type { BenchParameters, BenchRow, BenchUnit } from "../../../lib/bench/rows.js";
import { measured, single } from "../../../lib/bench/statistics.js";
import { run } from "../../support/cli.js";

const machine = {
  time: "2026-01-02T03:04:05.678Z",
  version: "1.2.3",
  commit: "abc1234",
  node: "v22.0.0",
  platform: "linux-x64",
  cpu: "a processor",
  cores: 2,
  memoryBytes: 2 ** 34,
};

function row(
  bench: BenchRow["bench"],
  name: string,
  parameters: BenchParameters,
  values: BenchRow["values"],
  about: Record<string, string | number | null> = {},
): BenchRow {
  return { schema: 1, bench, name, parameters, values, about: { ...machine, ...about } };
}

const ms = (value: number) => single(value, "ms", "less");

/** A kernel of 1 GB and `flops` on a machine of 10 GB/s and 100 GFLOP/s. */
function kernel(name: string, parameters: BenchParameters, us: number, flops = 4e9): BenchRow {
  const values = {
    time: measured([us, us * 1.001, us * 0.999], "us", "less"),
    bandwidth: single(1e9 / us / 1e3, "GB/s", null),
    ...(flops > 0 && { compute: single(flops / us / 1e3, "GFLOP/s", null) }),
    roofShare: single(0.5, "share", null),
  };
  const roofs = { bytesMoved: 1e9, flops, roof: "memory", roofBytesPerSecond: 1e10, roofFlopsPerSecond: 1e11 };
  return row("kernels", name, parameters, values, roofs);
}

const slow: ReportFile = {
  name: "slow",
  rows: [1, 4].flatMap((tokens) => [
    kernel("experts", { isa: "avx2", tokens }, 400_000),
    kernel("linear", { isa: "avx2", tokens, matrix: "router" }, 200_000, 1e9),
  ]),
};
const fast: ReportFile = {
  name: "fast",
  rows: [1, 4].map((tokens) => kernel("experts", { isa: "avx512", tokens }, 200_000)),
};

describe("names of files", () => {
  it("are short where they stay distinct", () => {
    expect(fileNames(["a/x.jsonl", "y.json", "z"])).toEqual(["x", "y", "z"]);
    expect(fileNames(["a/x.jsonl", "b/x.jsonl"])).toEqual(["a/x.jsonl", "b/x.jsonl"]);
    expect(fileNames(["x", "x"])).toEqual(["x (1)", "x (2)"]);
  });
});

describe("parameters", () => {
  const files = [slow.rows, fast.rows];
  it("tell rows or files apart", () => {
    expect(differingWithin(files)).toEqual(["tokens", "matrix"]);
    expect(identifying(files)).toEqual(["isa"]);
    // Other loads are other measurements, whatever the files are.
    expect(identifying([[kernel("embed", { tokens: 1 }, 1)], [kernel("embed", { tokens: 2 }, 1)]])).toEqual([]);
  });

  it("do not tell files apart that measured more or less", () => {
    const of = (bench: BenchRow["bench"], parameters: BenchParameters) => [
      row(bench, "a", parameters, { time: ms(1) }),
    ];
    expect(identifying([of("engine", { inputTokens: 8 }), of("engine", { inputTokens: 16 })])).toEqual([]);
    expect(identifying([of("engine", { requests: 1 }), of("engine", { requests: 4 })])).toEqual([]);
    expect(identifying([of("serve", { requests: 100 }), of("serve", { requests: 400 })])).toEqual(["requests"]);
  });

  it("separate plots", () => {
    expect(titleOf(kernel("linear", { matrix: "router", tokens: 1 }, 1))).toBe("linear, router");
    expect(titleOf(kernel("attention", { window: 0 }, 1))).toBe("attention, window 0");
    expect(titleOf(kernel("embed", { comparison: true }, 1))).toBe("embed, comparison");
  });
});

describe("sweeps", () => {
  it("go over every load that grows, with a curve for each variant", () => {
    const rows = [4, 1].flatMap((tokens) =>
      [1024, 8192].map((context) => kernel("attention", { tokens, context, window: 0, threads: 2 }, tokens * context)),
    );
    const shape = sweepsOf([rows]).map(({ parameter, curves }) => [
      parameter,
      curves.map(({ file, variant, points }) => [file, variant, points.map(({ x }) => x)]),
    ]);
    expect(shape).toEqual([
      [
        "tokens",
        [
          [0, "context 1024", [1, 4]],
          [0, "context 8192", [1, 4]],
        ],
      ],
      [
        "context",
        [
          [0, "tokens 4", [1024, 8192]],
          [0, "tokens 1", [1024, 8192]],
        ],
      ],
    ]);
  });

  it("do not take a number that follows the load for a load or a variant", () => {
    const rows = [1, 8].map((concurrency) =>
      row("serve", "closed-loop", { concurrency, requests: 100 * concurrency }, { e2e: ms(1) }),
    );
    expect(sweepsOf([rows]).map(({ parameter, curves }) => [parameter, curves.length])).toEqual([["concurrency", 1]]);
  });

  it("are none of rows that differ in words alone", () => {
    const rows = ["a", "b"].map((mode) => row("startup", "load", { mode, threads: 2 }, { time: ms(1) }));
    expect(sweepsOf([rows])).toEqual([]);
    expect(sweepsOf([[rows[0]!], [rows[1]!]])).toEqual([]);
  });
});

describe("charts", () => {
  it("share their x, also where a series has two points at one", () => {
    const series = (xs: number[]) => ({
      ...{ label: "s", color: 0, style: 0, shape: "line" as const },
      points: xs.map((x, i) => ({ x, y: 10 * x + i, note: `${x}` })),
    });
    const { xs, series: columns } = sharedColumns([series([4, 1, 4]), series([2])]);
    expect(xs).toEqual([1, 2, 4, 4]);
    expect(columns.map(({ ys }) => ys)).toEqual([
      [11, null, 40, 42],
      [null, 20, null, null],
    ]);
    expect(columns[1]!.notes).toEqual([null, "2", null, null]);
  });

  it("are logarithmic where values are positive and far apart", () => {
    expect([logOf([1, 20], 10, 20), logOf([1, 19], 10, 20), logOf([0, 100], 10, 20)]).toEqual([10, null, null]);
  });
});

describe("the roofline", () => {
  it("has a point of each kernel with arithmetic, below the roofs", () => {
    const { xs, series } = roofline([slow, { name: "copy", rows: [kernel("embed", { tokens: 1 }, 10, 0)] }])!;
    // Both kernels, the ridge at 100 GFLOP/s / 10 GB/s, and the ends.
    expect(xs).toEqual([0.5, 1, 1, 4, 4, 10, 20]);
    const values = ({ ys }: { ys: (number | null)[] }) => ys.filter((y) => y !== null);
    expect(series.map((one) => [one.label, one.color, one.shape, values(one)])).toEqual([
      ["slow · experts", 0, "points", [10, 10]],
      ["slow · linear", 1, "points", [5, 5]],
      ["slow · roof of 100.0 GFLOP/s", null, "line", [5, 100, 100]],
    ]);
    expect(series[0]!.notes[3]).toBe("slow · experts\ntokens 1\n10.00 GFLOP/s, 2.500 GB/s, 50.00 % of the roof");
  });

  it("has one roof for each unit, named after its instruction", () => {
    const byUnit = (flops: number, roof: string) => {
      const one = kernel("linear", {}, 1);
      return { ...one, about: { ...one.about, roof, roofFlopsPerSecond: flops } };
    };
    expect(roofsOf([byUnit(1e11, "memory"), byUnit(1e11, "fma"), byUnit(2e11, "memory"), ...fast.rows])).toEqual([
      { bytes: 1e10, flops: 1e11, name: "fma" },
      { bytes: 1e10, flops: 2e11, name: null },
    ]);
  });

  it("has no place for rows without a count of operations", () => {
    expect(intensityOf(row("kernels", "linear", {}, { time: ms(1) }))).toBeNull();
    expect(roofline([{ name: "a", rows: [row("serve", "closed-loop", {}, { e2e: ms(1) })] }])).toBeNull();
  });
});

describe("sections", () => {
  it("of kernels choose a value, bandwidth first, beside the roof of memory", () => {
    const [{ bench, measures, charts }] = sectionsOf([slow, fast]) as [ReturnType<typeof sectionsOf>[number]];
    expect([bench, measures]).toEqual(["kernels", ["bandwidth", "time", "compute", "roofShare"]]);
    const shown = charts.filter(({ measure }) => measure === "bandwidth");
    expect(shown.map(({ title }) => title)).toEqual(["experts", "linear, router"]);
    expect(shown[0]!.x).toEqual({ title: "tokens", log: 2, categories: null });
    expect(shown[0]!.y).toEqual({ title: "bandwidth, GB/s", log: null, categories: null });
    expect(shown[0]!.series.map(({ label, color, style, ys }) => [label, color, style, ys])).toEqual([
      ["slow", 0, 0, [2.5, 2.5]],
      ["fast", 1, 1, [5, 5]],
      ["slow · roof of memory", null, 0, [10, 10]],
      ["fast · roof of memory", null, 1, [10, 10]],
    ]);
    const share = charts.find(({ measure }) => measure === "roofShare")!;
    expect([share.y.title, share.series[0]!.ys]).toEqual(["roofShare, %", [50, 50]]);
    expect(share.series[0]!.notes[1]).toBe("slow\ntokens 4\n50.00 %");
  });

  it("of serve have throughput and latencies, over concurrency and over rate", () => {
    const values = (load: number) => ({
      e2e: ms(100 * load),
      outputThroughput: single(10 * load, "tokens/s", "more"),
      ttft: ms(load),
      ttftP99: ms(2 * load),
    });
    const rows = [
      ...[1, 8].map((concurrency) => row("serve", "closed-loop", { model: "m", concurrency }, values(concurrency))),
      ...[0.5, 4].map((rate) => row("serve", "open-loop", { model: "m", rate, maxConcurrency: null }, values(rate))),
    ];
    const [{ measures, charts }] = sectionsOf([{ name: "a", rows }]) as [ReturnType<typeof sectionsOf>[number]];
    expect(measures).toEqual([]);
    expect(charts.map(({ title, x, y }) => [title, x.title, y.title])).toEqual([
      ["closed-loop: throughput", "concurrency", "tokens/s"],
      ["closed-loop: time to the first token", "concurrency", "ms"],
      ["closed-loop: whole answer", "concurrency", "ms"],
      ["open-loop: throughput", "rate, requests/s", "tokens/s"],
      ["open-loop: time to the first token", "rate, requests/s", "ms"],
      ["open-loop: whole answer", "rate, requests/s", "ms"],
    ]);
    expect(charts[1]!.series.map(({ label, color, ys }) => [label, color, ys])).toEqual([
      ["ttft", 0, [1, 8]],
      ["ttftP99", 1, [2, 16]],
    ]);
  });

  it("of rows without a sweep have bars side by side, a chart for each unit", () => {
    const file = (name: string, factor: number) => ({
      name,
      rows: [
        row("startup", "load", { mode: "a" }, { time: ms(10 * factor) }),
        row("startup", "load", { mode: "b" }, { time: ms(20 * factor) }),
        row("startup", "memory", {}, { time: single(7e6 * factor, "bytes", "less") }),
      ],
    });
    const [{ measures, charts }] = sectionsOf([file("x", 1), file("y", 2)]) as [ReturnType<typeof sectionsOf>[number]];
    expect(measures).toEqual(["time"]);
    expect(charts.map(({ title, x, y, xs }) => [title, x.categories, y.title, xs])).toEqual([
      ["startup: time", ["load, mode a", "load, mode b"], "ms", [-0.2, 0.2, 0.8, 1.2]],
      ["startup: time", ["memory"], "MB", [-0.2, 0.2]],
    ]);
    expect(charts[0]!.series.map(({ label, shape, ys }) => [label, shape, ys])).toEqual([
      ["x", "bar", [10, null, 20, null]],
      ["y", "bar", [null, 20, null, 40]],
    ]);
  });
});

describe("rows that bench engine and bench startup printed", () => {
  const file = { name: "recorded", rows: readRows("test/fixtures/bench/engine-and-startup.jsonl") };
  const [engine, startup] = sectionsOf([file]) as [Section, Section];
  const shown = ({ charts }: Section) =>
    charts.map(({ title, x, y, series }) => [
      title,
      x.categories ?? x.title,
      y.title,
      series.map(({ label }) => label),
    ]);

  it("have every value that matters at first sight", () => {
    expect([engine.bench, engine.measures, startup.bench, startup.measures]).toEqual(["engine", [], "startup", []]);
    expect(shown(engine)).toEqual([
      ["prefill: throughput", "inputTokens", "tokens/s", ["recorded"]],
      ["decode: throughput", "context", "tokens/s", ["recorded"]],
      ["decode: bandwidth", "context", "GB/s", ["bandwidth", "roofBandwidth"]],
      ["concurrency: throughput", "requests", "tokens/s", ["recorded"]],
      ["concurrency: time to the first token", "requests", "ms", ["ttft", "ttftP99"]],
      ["concurrency: gap between tokens", "requests", "ms", ["itl", "itlP99"]],
      ["concurrency: delay of the event loop", "requests", "ms", ["recorded"]],
    ]);
    const times = ["imported", "load", "ready", "firstToken"].map((name) => `start, ${name}`);
    expect(shown(startup)).toEqual([
      ["time of a start", times, "ms", ["recorded"]],
      ["memory", ["start, resident", "start, residentPeak"], "MB", ["recorded"]],
    ]);
    const { resident, residentPeak } = file.rows.at(-1)!.values;
    expect(startup.charts[1]!.series[0]!.ys).toEqual([resident!.median / 1e6, residentPeak!.median / 1e6]);
  });

  it("have a table for each kind of row, without empty columns", () => {
    const tables = tablesOf([file]).rows;
    expect(tables.map(({ title, rows }) => [title, rows.length])).toEqual([
      ["Rows of engine: prefill, decode", 4],
      ["Rows of engine: concurrency", 3],
      ["Rows of startup", 1],
    ]);
    expect(tables[1]!.columns.slice(0, 3)).toEqual(["name", "requests", "outputThroughput tokens/s"]);
    expect(tables[1]!.rows.flat().filter(({ text }) => text === "")).toEqual([]);
    expect(tables[2]!.columns.at(-1)).toBe("residentPeak MB");
    expect(tables[2]!.rows[0]!.at(-1)!.text).toMatch(/^\d\d\.\d\d$/);
  });
});

describe("tables", () => {
  it("compare the rows that files share, whatever tells the files apart", () => {
    const table = ratioTable([slow, fast])!;
    expect(table.note).toMatch(/^The files differ in isa avx2 \/ avx512\. /);
    expect(table.columns).toEqual(["name", "tokens", "value", "slow", "fast", "fast / slow"]);
    expect(table.rows.map((cells) => cells.map(({ text }) => text))).toEqual([
      ["experts", "1", "time", "400000 us", "200000 us", "× 0.5000 [0.4990 .. 0.5010] faster"],
      ["experts", "4", "time", "400000 us", "200000 us", "× 0.5000 [0.4990 .. 0.5010] faster"],
    ]);
    expect(table.rows[0]!.at(-1)).toMatchObject({ sort: 0.5, tone: "good" });
    expect(ratioTable([fast, slow])!.rows[0]!.at(-1)).toMatchObject({ sort: 2, tone: "bad" });
  });

  it("compare nothing where there is nothing to compare", () => {
    expect(ratioTable([slow])).toBeNull();
    expect(ratioTable([slow, { name: "other", rows: [kernel("embed", { isa: "avx2", tokens: 1 }, 1)] }])).toBeNull();
  });

  it("have every row, with what differs in columns", () => {
    const [table, ...others] = rowTables("kernels", [slow]) as [Table, ...Table[]];
    expect([table.title, others]).toEqual(["Rows of kernels", []]);
    expect(table.note).toBe("isa avx2");
    expect(table.columns).toEqual([
      ...["name", "tokens", "matrix", "time us", "bandwidth GB/s", "compute GFLOP/s", "roofShare %"],
    ]);
    expect(table.rows).toHaveLength(4);
    expect(table.rows[1]!.map(({ text }) => text)).toEqual([
      ...["linear", "1", "router", "200000 [199800 .. 200200]", "5.000", "5.000", "50.00"],
    ]);
    expect(table.rows[1]!.map(({ sort }) => sort)).toEqual([undefined, 1, undefined, 200_000, 5, 5, 0.5]);
    // isa tells the files apart, and the file is a column.
    expect(rowTables("kernels", [slow, fast])[0]!.columns.slice(0, 4)).toEqual(["file", "name", "tokens", "matrix"]);
  });

  it("can do without what a row should say of its machine", () => {
    const bare = { ...slow.rows[0]!, about: {} } as unknown as BenchRow;
    const { rows } = tablesOf([{ name: "bare", rows: [bare] }]).machines;
    expect(rows.slice(0, 4).map((cells) => cells[1]!.text)).toEqual(["unknown", "1", "unknown", "unknown"]);
  });

  it("say what each file says of its machine", () => {
    const { columns, rows } = tablesOf([slow, fast]).machines;
    expect(columns).toEqual(["", "slow", "fast"]);
    expect(Object.fromEntries(rows.map((cells) => [cells[0]!.text, cells.slice(1).map(({ text }) => text)]))).toEqual({
      measured: ["2026-01-02 03:04 UTC", "2026-01-02 03:04 UTC"],
      rows: ["4", "2"],
      processor: ["a processor", "a processor"],
      cores: ["2", "2"],
      memory: ["16.00 GiB", "16.00 GiB"],
      platform: ["linux-x64", "linux-x64"],
      "gpt-oss-node": ["1.2.3", "1.2.3"],
      commit: ["abc1234", "abc1234"],
      Node: ["v22.0.0", "v22.0.0"],
      isa: ["avx2", "avx512"],
    });
  });
});

describe("the page", () => {
  const page = reportPage([slow, fast]);

  /** Texts of the elements `script` and `style`: name, attributes, content. */
  const raw = (html: string) =>
    [...html.matchAll(/<(script|style)([^>]*)>(.*?)<\/\1>/gs)].map(([, name, attributes, content]) => ({
      name: name!,
      attributes: attributes!.trim(),
      content: content!,
    }));

  it("asks nobody for anything", () => {
    const markup = raw(page).reduce((html, { content }) => html.replace(content, () => ""), page);
    expect(markup).not.toMatch(/\s(src|href|srcset|action|background|poster)\s*=/i);
    expect(markup.replace(/<!--.*?-->/gs, "")).not.toMatch(/https?:\/\//);
    for (const { name, content } of raw(page)) {
      expect(content).not.toMatch(/\bfetch\(|XMLHttpRequest|WebSocket|import\(|importScripts|sendBeacon|EventSource/);
      if (name === "style") expect(content).not.toMatch(/url\(|@import/);
    }
  });

  it("permits its own style and programs, and nothing else", () => {
    const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)!;
    const hash = (content: string) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
    const [style, data, library, client, ...others] = raw(page);
    expect([others, data!.attributes]).toEqual([[], 'type="application/json" id="sections"']);
    expect(policy).toBe(
      `default-src 'none'; style-src ${hash(style!.content)}; ` +
        `script-src ${hash(library!.content)} ${hash(client!.content)}; base-uri 'none'; form-action 'none'`,
    );
  });

  it("has the plots, and the licence of what it carries", () => {
    const data = raw(page).find(({ attributes }) => attributes.includes("sections"))!.content;
    expect(JSON.parse(data)).toEqual(JSON.parse(JSON.stringify(sectionsOf([slow, fast]))));
    expect(page).toContain("The MIT License (MIT)");
    expect(page).toMatch(/Copyright \(c\) 2022 Leon Sorokin/);
  });

  it("keeps text of files as text", () => {
    const evil = `</script><script>alert(1)</script><!--<b onclick='x'>&"`;
    const evilRow = row("lib", evil, { [evil]: evil }, { [evil]: single(1, evil as BenchUnit, null) }, { cpu: evil });
    const html = reportPage([{ name: evil, rows: [evilRow] }]);
    expect(raw(html).map(({ name }) => name)).toEqual(["style", "script", "script", "script"]);
    expect(html).not.toContain("<b onclick");
    expect(html).not.toContain("<script>alert");
    expect(JSON.parse(raw(html)[1]!.content)[0].charts[0].x.categories).toEqual([evil]);
    expect(escaped(`&<>"'`)).toBe("&amp;&lt;&gt;&quot;&#39;");
    expect(jsonText("</script><!--")).toBe('"\\u003c/script>\\u003c!--"');
  });

  it("closes every element that it opens", () => {
    const open: string[] = [];
    const markup = raw(page).reduce((html, { content }) => html.replace(content, () => ""), page);
    for (const [, close, name] of markup.replace(/<!--.*?-->/gs, "").matchAll(/<(\/?)([a-z][a-z0-9]*)[^>]*>/g)) {
      if (name === "meta") continue;
      if (close) expect(open.pop()).toBe(name);
      else open.push(name!);
    }
    expect(open).toEqual([]);
  });

  it("is made of the results in this repository", () => {
    const names = ["kernels-20b-avx2", "kernels-20b-avx512bf16"];
    const files = names.map((name) => ({ name, rows: readRows(`bench/baseline/${name}.jsonl`) }));
    const [{ charts }] = sectionsOf(files) as [ReturnType<typeof sectionsOf>[number]];
    expect(charts[0]!.title).toBe("Roofline");
    expect(ratioTable(files)!.rows).toHaveLength(files[0]!.rows.length);
  });
});

describe("gpt-oss bench report", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-report-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string, text: string) => {
    writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const lines = (rows: readonly BenchRow[]) => rows.map((one) => `${JSON.stringify(one)}\n`).join("");
  const files = [file("slow.jsonl", lines(slow.rows)), file("fast.jsonl", lines(fast.rows))];

  it("writes the page, and says where it is", async () => {
    const output = path.join(folder, "page.html");
    writeFileSync(output, "an older one");
    const { code, stdout, stderr } = await run(["bench", "report", ...files, "-o", output]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "", stderr: `The report is ${output}\n` });
    expect(readFileSync(output, "utf8")).toBe(reportPage([slow, fast]));
  });

  it("prints it with -o -", async () => {
    const { code, stdout, stderr } = await run(["bench", "report", files[0]!, "-o", "-"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(reportPage([slow]));
  });

  it.each([
    ["no file", () => [], /^gpt-oss: missing required argument 'files'.* \(USAGE\)\n$/],
    ["a missing file", () => ["gone.jsonl"], /^gpt-oss: gone\.jsonl cannot be read: .* \(INVALID_ARGUMENT\)\n$/],
    ["an empty file", () => [file("empty", "\n")], /empty has no rows \(INVALID_ARGUMENT\)\n$/],
    [
      "rows of another schema",
      () => [files[0]!, file("other", '{"schema":2}\n')],
      /other, line 1: expected a row of "gpt-oss bench", with schema 1 \(INVALID_ARGUMENT\)\n$/,
    ],
    [
      "a row without a value",
      () => [file("bare", '{"schema":1,"bench":"lib","name":"a","parameters":{},"values":{},"about":{}}')],
      /bare, line 1: expected a row of "gpt-oss bench"/,
    ],
    ["an output that is a folder", () => [files[0]!, "-o", folder], / cannot be written: .* \(INVALID_ARGUMENT\)\n$/],
  ])("refuses %s", async (_, words, message) => {
    const { code, stdout, stderr } = await run(["bench", "report", ...words()]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });
});
