// The clocks of a GPU while a step of gpu:check measures. The roofs of issue slots and pipes depend on them.
import { spawn } from "node:child_process";
import { digits, median } from "./report.mjs";

const fields = ["utilization.gpu", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu"];
const busy = 50; // per cent of the time in which some kernel ran; samples below it are dropped

/** Turns lines of nvidia-smi into a row of the result; undefined if the GPU was never busy. */
export function clocksRow(step, text) {
  const samples = text
    .split("\n")
    .map((line) => line.split(",").map(Number))
    .filter((sample) => sample.length === fields.length && sample.every(Number.isFinite) && sample[0] >= busy);
  if (samples.length === 0) return undefined;
  const of = (field) => {
    const values = samples.map((sample) => sample[field]);
    return [Math.min(...values), median(values), Math.max(...values)].map((value) => digits(value));
  };
  return {
    bench: "clocks",
    step,
    samples: samples.length,
    smMegahertz: of(1),
    memoryMegahertz: of(2),
    watts: of(3),
    celsius: of(4),
  };
}

/** Samples twice a second until the returned function is called, which returns the row. */
export function watchClocks(step) {
  let text = "";
  const child = spawn(
    "nvidia-smi",
    [`--query-gpu=${fields}`, "--format=csv,noheader,nounits", "-i", "0", "-lms", "500"],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  child.on("error", () => {}); // no nvidia-smi: no samples
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    text += chunk;
  });
  const end = () => child.kill("SIGKILL");
  process.once("exit", end);
  return () => {
    process.off("exit", end);
    end();
    return clocksRow(step, text);
  };
}
