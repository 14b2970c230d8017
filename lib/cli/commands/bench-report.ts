import { writeFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { readRows } from "../../bench/baseline.js";
import { fileNames } from "../../bench/report/files.js";
import { reportPage } from "../../bench/report/page.js";
import { GptOssError } from "../../errors.js";
import { Output } from "../output.js";
import { writeOut } from "../stdio.js";

export function benchReportCommand(): Command {
  return new Command("report")
    .description("Make one HTML page with plots and tables of result files, side by side.")
    .argument("<files...>", 'JSON lines of "gpt-oss bench ... --json"')
    .option("-o, --output <file>", 'the page; "-" is stdout', "report.html")
    .action(report);
}

function report(files: string[], { output }: { output: string }): void {
  const names = fileNames(files);
  const page = reportPage(files.map((file, i) => ({ name: names[i]!, rows: readRows(file) })));
  if (output === "-") {
    writeOut(page);
    return;
  }
  try {
    writeFileSync(output, page);
  } catch (cause) {
    throw new GptOssError("INVALID_ARGUMENT", `${output} cannot be written: ${(cause as Error).message}`, { cause });
  }
  Output.stderr().line(`The report is ${path.resolve(output)}`);
}
