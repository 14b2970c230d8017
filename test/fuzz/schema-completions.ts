import type { ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import { Engine } from "../../lib/engine.js";
import { GptOssError } from "../../lib/errors.js";
import { seededRandom } from "../support/random.js";
import { type JsonSchema, SchemaFuzzer } from "./schemas.js";

/** Completions under random schemas, checked by ajv: each that ended with "stop" must be a value of its schema. */

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;
/** Makes an ajv for one schema, because a shared one would keep all schemas in memory. */
function newAjv(): Ajv2020 {
  // The grammar counts decimals exactly; ajv divides floats.
  const exact = { multipleOfPrecision: 9 };
  const ajv = new Ajv2020({ strict: false, validateSchema: false, logger: false, ownProperties: true, ...exact });
  addFormats(ajv);
  return ajv;
}

export interface SchemaReport {
  seed: number;
  schemas: number;
  /** Schemas that were refused with a reason, or relaxed with a reason in a tool that is not strict. */
  refused: number;
  relaxed: number;
  /** Completions that ended with "stop" and were checked. */
  completions: number;
  /** The completions that are tool calls. */
  calls: number;
  cutOff: number;
  /** The first few failures, with their schemas; there should be none. */
  failures: string[];
}

/** A completion that is not a value of its schema, or a refusal without a reason. */
class SchemaFailure extends Error {}

/** The engines under test; `wide` has the full vocabulary, which tool calls need. */
export interface Engines {
  tiny: Engine;
  wide: Engine;
}

export async function loadEngines(): Promise<Engines> {
  const [tiny, wide] = await Promise.all([
    Engine.load("synthetic:tiny", { contextLength: 512, kvCache: { bytes: "64MiB" } }),
    Engine.load("synthetic:wide?seed=3", { contextLength: 512, kvCache: { bytes: "16MiB" } }),
  ]);
  return { tiny, wide };
}

const stopToken = 511;
const choices = 12;
/** One schema in this many belongs to a tool, alternately strict and not. */
const toolEvery = 8;
const atOnce = 8;
const mostFailures = 20;

/**
 * Draws schemas until there are `completions` completions, or too many failures.
 *
 * @param tell called with the report after each schema
 */
export async function fuzzSchemas(
  engines: Engines,
  seed: number,
  completions: number,
  tell: (report: SchemaReport) => void = () => {},
): Promise<SchemaReport> {
  const report: SchemaReport = {
    seed,
    schemas: 0,
    refused: 0,
    relaxed: 0,
    completions: 0,
    calls: 0,
    cutOff: 0,
    failures: [],
  };
  const worker = async () => {
    while (report.completions < completions && report.failures.length < mostFailures) {
      const index = report.schemas++;
      await tryOne(engines, seed, index, report);
      tell(report);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return report;
}

/** The schema with this number: the same for every run with the same seed. */
async function tryOne(engines: Engines, seed: number, index: number, report: SchemaReport): Promise<void> {
  const fuzzer = new SchemaFuzzer(seededRandom(seed * 1_000_003 + index));
  const isTool = index % toolEvery === toolEvery - 1;
  const schema = fuzzer.draw(isTool ? "object" : undefined);
  const at = `seed ${seed}, schema ${index}: ${JSON.stringify(schema)}`;
  try {
    if (isTool) await tryTool(engines.wide, schema, index % (2 * toolEvery) >= toolEvery, index, report);
    else await tryFormat(engines.tiny, schema, index, report);
  } catch (error) {
    const isNamed = error instanceof GptOssError && (error.code === "INVALID_ARGUMENT" || error.code === "UNSUPPORTED");
    if (!isNamed || !/^(the format|the parameters of tool)/.test(error.message)) {
      report.failures.push(`${at}: ${String(error)}`);
    } else report.refused++;
  }
}

async function tryFormat(engine: Engine, schema: JsonSchema, seed: number, report: SchemaReport): Promise<void> {
  const { choices: written } = await engine.generate([1, 2, 3], {
    constraint: { kind: "text", format: { type: "json_schema", schema } },
    n: choices,
    seed,
    maxTokens: 120,
    temperature: 1,
    stopTokens: [stopToken],
  }).result;
  const validate = newAjv().compile(annotated(schema));
  for (const { tokens } of written!) {
    if (tokens.at(-1) !== stopToken) report.cutOff++;
    else check(validate, engine.tokenizer.decode(tokens.slice(0, -1)), report);
  }
}

async function tryTool(
  engine: Engine,
  parameters: JsonSchema,
  strict: boolean,
  seed: number,
  report: SchemaReport,
): Promise<void> {
  const { finishReason, toolCalls, relaxed } = await engine.chat([{ role: "user", content: "x" }], {
    tools: [{ type: "function", function: { name: "f", parameters, strict } }],
    toolChoice: "required",
    reasoningBudget: 0,
    seed,
    maxTokens: 160,
  }).result;
  if (relaxed.length > 0) report.relaxed++;
  const [call] = toolCalls;
  // The limit closes arguments that it has room for. Those of a large schema may not fit.
  if (finishReason === "length" && !isJson(call?.arguments ?? "")) {
    report.cutOff++;
    return;
  }
  if (call?.name !== "f") throw new SchemaFailure(`no call of the tool but ${JSON.stringify(toolCalls)}`);
  report.calls++;
  check(newAjv().compile(relaxed.length > 0 ? { type: "object" } : annotated(parameters)), call.arguments, report);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function check(validate: ValidateFunction, text: string, report: SchemaReport): void {
  report.completions++;
  if (validate(JSON.parse(text))) return;
  // A bug in ajv, which miscounts unevaluated items in branches.
  if (validate.errors?.some(({ message }) => message?.includes("more than true items"))) return;
  const why = (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`).join(", ");
  throw new SchemaFailure(`${text} is no value of it: ${why}`);
}

/** Removes formats where there are patterns or listed values: merging can make a format an annotation beside them. */
function annotated(schema: JsonSchema): JsonSchema {
  const text = JSON.stringify(schema);
  if (!/"(pattern|enum|const)":/.test(text)) return schema;
  return JSON.parse(text, (key, value: unknown) => (key === "format" ? undefined : value)) as JsonSchema;
}
