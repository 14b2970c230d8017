import { Command } from "commander";
import { benchKernelsCommand } from "./bench-kernels.js";
import { benchServeCommand } from "./bench-serve.js";

export function benchCommand(): Command {
  return new Command("bench")
    .description("Measure kernels, or a server.")
    .addCommand(benchKernelsCommand())
    .addCommand(benchServeCommand());
}
