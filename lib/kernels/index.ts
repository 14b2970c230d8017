export type { BenchOptions, Measurement, Spread } from "./bench.js";
export { bf16, float32 } from "./bf16.js";
export type { BufferArray, BufferDtype, DeviceBuffer } from "./device-buffer.js";
export {
  type BackendStatus,
  Kernels,
  type KernelsInfo,
  type KernelsOptions,
  kernels,
  listBackends,
  type RoofOptions,
  type Roofs,
  type UnitRoof,
} from "./kernels.js";
export type {
  AttentionArguments,
  EmbedArguments,
  ExpertsArguments,
  Floats,
  LinearArguments,
  LmHeadArguments,
  LmHeadOutput,
  Mxfp4DequantizeArguments,
  Mxfp4GemmArguments,
  OperationArguments,
  OperationName,
  Output,
  QkvArguments,
  QkvOutput,
  Ran,
  Result,
  RmsNormArguments,
  RouterArguments,
  RouterOutput,
  SampleArguments,
  SampleOutput,
  SwigluArguments,
} from "./operations.js";
