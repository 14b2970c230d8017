import { Command } from "commander";
import { benchEngineCommand } from "./bench-engine.js";
import { benchKernelsCommand } from "./bench-kernels.js";
import { benchServeCommand } from "./bench-serve.js";

export function benchCommand(): Command {
  return new Command("bench")
    .description("Measure kernels, an engine, or a server.")
    .addCommand(benchKernelsCommand())
    .addCommand(benchEngineCommand())
    .addCommand(benchServeCommand());
}
