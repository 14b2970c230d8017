// The peak rates of a GPU, as the kernel lab measures them: the denominators of every share in a result file.
//
//   node bench/gpu/roofs.mjs cuda|metal [--cold-bytes N] [--seconds S]      prints one JSON object
import { parseArgs } from "node:util";
import { kernels } from "../../dist/kernels/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "cold-bytes": { type: "string", default: `${2 ** 32}` }, // far more than any cache
    seconds: { type: "string", default: "0.02" },
  },
});
try {
  const lab = kernels(positionals[0]);
  const options = { coldBytes: Number(values["cold-bytes"]), seconds: Number(values.seconds) };
  const { bytesPerSecond, bytesBy, float32, bf16 } = await lab.roofs(options);
  const row = {
    readBytesPerSecond: bytesPerSecond,
    mmaFlopsPerSecond: bf16.flopsPerSecond,
    fmaFlopsPerSecond: float32.flopsPerSecond,
    by: [bytesBy, bf16.instruction, float32.instruction],
  };
  console.log(JSON.stringify(row));
  await lab.close();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
