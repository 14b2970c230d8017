import { parseJson } from "../../common/exact-json.js";
import { own } from "../../common/given-values.js";
import { badRequest, unsupported } from "../http/error-response.js";
import type { AskedFormat } from "../turn/turn.js";
import { checkSchema, isObject } from "./fields.js";
import { refuseExcess } from "./json-structure.js";

/** The format of an answer, in every spelling that requests use. A schema is never ignored silently. */

type Fields = Readonly<Record<string, unknown>>;
type Schema = Record<string, unknown> | boolean;

/** The format of a chat completion or completion. @throws ApiError that names the field */
export function readFormat(body: { response_format?: Record<string, unknown> } & GuidedBody): AskedFormat | null {
  const asked = readResponseFormat(body.response_format);
  const guided = readGuided(body);
  if (asked !== null && guided !== null) {
    throw badRequest(guided.at, `${guided.at} and ${asked.at} both ask for a format: use only one of them`);
  }
  return asked ?? guided;
}

/** Reads `response_format`, with the schema nested as in OpenAI's API, or beside the type as in other APIs. */
function readResponseFormat(format: Fields | undefined): AskedFormat | null {
  if (format === undefined) return null;
  const at = "response_format";
  const { type, schema, json_schema: nested } = format;
  const known = ["text", "json_object", "json_schema"];
  if (!known.includes(type as string)) {
    throw badRequest(`${at}.type`, `${at}.type must be one of ${known.map((name) => JSON.stringify(name)).join(", ")}`);
  }
  if (type !== "json_schema") refuseBeside(format, "json_schema", at);
  if (type === "text") refuseBeside(format, "schema", at);
  if (type === "text") return null;
  if (type === "json_object") {
    return isPresent(schema) ? readJsonSchema(format, at) : { type: "json_object", at };
  }
  if (!isPresent(nested)) return readJsonSchema(format, isPresent(schema) ? at : `${at}.json_schema`);
  refuseBeside(format, "schema", at);
  if (!isObject(nested)) throw badRequest(`${at}.json_schema`, `${at}.json_schema must be an object`);
  return readJsonSchema({ strict: format.strict, ...nested }, `${at}.json_schema`);
}

/**
 * `text.format` of the Responses API.
 *
 * @throws ApiError that names the field
 */
export function readTextFormat(format: Fields | null | undefined): AskedFormat | null {
  if (format === undefined || format === null) return null;
  const at = "text.format";
  const { type, schema, name } = format;
  switch (type) {
    case "text":
      refuseBeside(format, "schema", at);
      return null;
    case "json_object":
      return isPresent(schema) ? readJsonSchema(format, at) : { type: "json_object", at };
    case "json_schema":
      if (typeof name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
        const code = isPresent(name) ? undefined : "missing_required_parameter";
        throw badRequest(`${at}.name`, `${at}.name must be 1 to 64 letters, digits, "_" or "-"`, code);
      }
      return readJsonSchema(format, at);
    default: {
      const code = isPresent(type) ? undefined : "missing_required_parameter";
      throw badRequest(`${at}.type`, `${at}.type must be one of "text", "json_object", "json_schema"`, code);
    }
  }
}

/** Reads a schema and the fields that describe it. */
function readJsonSchema({ schema, name, description, strict }: Fields, at: string): AskedFormat {
  if (!isPresent(schema)) {
    throw badRequest(`${at}.schema`, `${at}.schema is required`, "missing_required_parameter");
  }
  if (!isSchema(schema)) throw badRequest(`${at}.schema`, `${at}.schema must be a JSON schema`);
  if (isPresent(name) && (typeof name !== "string" || !/^[^\r\n]{1,256}$/.test(name))) {
    throw badRequest(`${at}.name`, `${at}.name must be one line of 1 to 256 characters`);
  }
  if (isPresent(description) && typeof description !== "string") {
    throw badRequest(`${at}.description`, `${at}.description must be a string`);
  }
  if (isPresent(strict) && typeof strict !== "boolean") {
    throw badRequest(`${at}.strict`, `${at}.strict must be true or false`);
  }
  return {
    type: "json_schema",
    schema: owned(schema),
    ...(typeof name === "string" && { name }),
    ...(typeof description === "string" && description !== "" && { description }),
    strict: strict === true,
    at: `${at}.schema`,
  };
}

function refuseBeside(format: Fields, name: string, at: string): void {
  if (!isPresent(format[name])) return;
  const type = JSON.stringify(format.type);
  throw badRequest(`${at}.${name}`, `${at}.${name} does not apply to a format of type ${type}`, unsupported);
}

// --- vLLM's own fields ---

export interface GuidedBody {
  structured_outputs?: Record<string, unknown>;
  guided_json?: unknown;
  guided_regex?: string;
  guided_choice?: string[];
  guided_grammar?: unknown;
}

type Asked = { kind: string; value: unknown; at: string };

/** Reads the fields that demand guided decoding. A field that cannot be enforced is refused. */
function readGuided(body: GuidedBody): AskedFormat | null {
  const { structured_outputs: outputs } = body;
  const asked: Asked[] = [];
  for (const kind of ["json", "json_object", "regex", "choice", "grammar", "structural_tag"]) {
    const at = `structured_outputs.${kind}`;
    const value = outputs?.[kind];
    if (isPresent(value) && value !== false) asked.push({ kind, value, at });
    if (value === false && kind === "json") asked.push({ kind, value, at }); // the schema that no value matches
  }
  for (const kind of ["json", "regex", "choice", "grammar"] as const) {
    const value = body[`guided_${kind}`];
    if (isPresent(value)) asked.push({ kind, value, at: `guided_${kind}` });
  }
  const [first, second] = asked;
  if (second !== undefined) throw badRequest(second.at, `${first!.at} and ${second.at} both ask for a format`);
  if (first !== undefined) return guidedFormat(first);
  if (outputs === undefined) return null;
  throw badRequest("structured_outputs", "structured_outputs needs one of json, json_object, regex and choice");
}

/** Maximum characters of a pattern, the same limit as in the grammar. */
const maxPattern = 131_072;

function guidedFormat({ kind, value, at }: Asked): AskedFormat {
  switch (kind) {
    case "json": {
      const schema: unknown = typeof value === "string" ? parsed(value) : value;
      if (!isSchema(schema)) throw badRequest(at, `${at} must be a JSON schema`);
      if (typeof schema === "object") checkSchema(schema, at);
      return { type: "json_schema", schema: owned(schema), strict: true, at };
    }
    case "json_object":
      if (value !== true) throw badRequest(at, `${at} must be true or false`);
      return { type: "json_object", at };
    case "regex":
      if (typeof value !== "string") throw badRequest(at, `${at} must be a regular expression`);
      if (value.length > maxPattern) throw badRequest(at, `${at} can have at most ${maxPattern} characters`);
      return { type: "regex", pattern: value, at };
    case "choice":
      if (!Array.isArray(value) || value.length === 0 || !value.every((text) => typeof text === "string")) {
        throw badRequest(at, `${at} must be an array of strings, at least one`);
      }
      return { type: "choice", choices: own(value), at };
    default:
      throw badRequest(at, `${at} is not supported: use json, regex or choice`, unsupported);
  }
}

function parsed(text: string): unknown {
  refuseExcess(Buffer.from(text));
  try {
    return parseJson(text, () => true); // keeps all digits of integers
  } catch {
    return undefined;
  }
}

/** Marks the schema as not shared: it was parsed for this request only. */
function owned(schema: Schema): Schema {
  return typeof schema === "object" ? own(schema) : schema;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "boolean" || isObject(value);
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}
