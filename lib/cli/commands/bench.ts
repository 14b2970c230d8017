import { Command } from "commander";
import { benchKernelsCommand } from "./bench-kernels.js";

export function benchCommand(): Command {
  return new Command("bench").description("Measure kernels.").addCommand(benchKernelsCommand());
}
