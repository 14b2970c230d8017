import { Command } from "commander";
import { benchEngineCommand } from "./bench-engine.js";
import { benchKernelsCommand } from "./bench-kernels.js";
import { benchReportCommand } from "./bench-report.js";
import { benchServeCommand } from "./bench-serve.js";
import { benchStartupCommand } from "./bench-startup.js";

export function benchCommand(): Command {
  return new Command("bench")
    .description("Measure kernels, an engine, its start, or a server, and show the results.")
    .addCommand(benchKernelsCommand())
    .addCommand(benchEngineCommand())
    .addCommand(benchStartupCommand())
    .addCommand(benchServeCommand())
    .addCommand(benchReportCommand());
}
