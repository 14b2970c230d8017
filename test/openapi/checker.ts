import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { type Allowance, described, mountedAt, ofTests, outside } from "./allowances.js";
import { ClosedSchemas, type Schema } from "./closed-schemas.js";
import { type Exchange, eventsOf } from "./exchange.js";

/** The parts of an OpenAPI document that the checker reads. */
export interface OpenApiDocument {
  paths: Record<string, Record<string, { responses?: Record<string, { content?: Contents }> }>>;
  components: { schemas: Record<string, Schema> };
}

type Contents = Record<string, { schema?: Schema }>;

export interface Violation {
  /** Method, path of the document, and where it streams "stream" and the type of the event. */
  operation: string;
  /** The field with its indices left out, such as "choices[].message". */
  field: string;
  keyword: string;
  message: string;
  /** The value that was sent, or as much of it as fits a line. */
  example: string;
  count: number;
}

const json = "application/json";
const events = "text/event-stream";
const anyError = "any error";
const errorSchema = reference("ErrorResponse");

/** Compares what a server answered with a document. */
export class Checker {
  /** How many bodies and events were checked, by operation. */
  readonly checked = new Map<string, number>();
  readonly #document: OpenApiDocument;
  readonly #allowances: readonly Allowance[];
  readonly #used = new Set<Allowance>();
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false, verbose: true });
  readonly #compiled = new Map<string, ValidateFunction>();
  readonly #violations = new Map<string, Violation>();

  constructor(document: OpenApiDocument, allowances: readonly Allowance[]) {
    this.#document = document;
    this.#allowances = allowances;
  }

  get violations(): Violation[] {
    const place = ({ operation, field }: Violation) => `${operation} ${field}`;
    return [...this.#violations.values()].sort((a, b) => place(a).localeCompare(place(b)));
  }

  /** Allowances that no answer needed: they are to be taken out, or the tests lack such an answer. */
  get unused(): Allowance[] {
    return this.#allowances.filter((allowance) => !this.#used.has(allowance));
  }

  check(exchange: Exchange): void {
    const { status, type, body, complete } = exchange;
    const method = exchange.method.toLowerCase();
    const url = exchange.url.replace(/[?#].*$/s, "").replace(mountedAt, "");
    if (method === "head" || method === "options") return; // they have no body
    if (!complete && body === "") return; // the reader left before the answer
    if (ofTests.some(({ path }) => path === url)) return;
    if (outside.some(({ path }) => path === url) && (status < 400 || !type.startsWith(json))) return;
    if (status >= 400) this.#checkWhole(anyError, errorSchema, exchange);
    else this.#checkAnswer(method, url.replace(/^\/v1(?=\/)/, ""), exchange);
  }

  #checkAnswer(method: string, url: string, exchange: Exchange): void {
    const found = this.#operation(method, url);
    if (found === undefined) {
      const message = "the document has no such operation";
      this.#add(`${method} ${url}`, { keyword: "paths", message, value: exchange.body });
      return;
    }
    const { path, content } = found;
    if (exchange.type.startsWith(events)) {
      const operation = `${method} ${path} stream`;
      this.#checkEvents(operation, schemaOf(operation, content?.[events]), exchange);
    } else {
      const operation = `${method} ${path}`;
      this.#checkWhole(operation, schemaOf(operation, content?.[json]), exchange);
    }
  }

  #checkWhole(operation: string, schema: Schema | undefined, { type, body, complete }: Exchange): void {
    if (!type.startsWith(json)) {
      this.#add(operation, { keyword: "content", message: "the answer is not JSON", value: type });
    } else if (complete) {
      this.#checkValue(operation, schema, body);
    }
  }

  #checkEvents(operation: string, schema: Schema | undefined, { body, complete }: Exchange): void {
    for (const { name, data } of eventsOf(body)) {
      if (data === "[DONE]") continue;
      const isFailure = name === undefined && data.startsWith('{"error":');
      if (isFailure) this.#checkValue(anyError, errorSchema, data);
      else this.#checkValue(operation, schema, data, name);
    }
    // Behind the last event of a stored response, there is nothing to send again.
    const mayBeEmpty = operation.startsWith("get ");
    if (complete && !body.endsWith("\n\n") && !(mayBeEmpty && body === "")) {
      this.#add(operation, { keyword: "stream", message: "the stream ends within an event", value: body.slice(-80) });
    }
  }

  #checkValue(operation: string, schema: Schema | undefined, text: string, name?: string): void {
    this.checked.set(operation, (this.checked.get(operation) ?? 0) + 1);
    if (schema === undefined) {
      this.#add(operation, { keyword: "schema", message: "the document has no body for it", value: text });
      return;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      this.#add(operation, { keyword: "json", message: "it is not JSON", value: text });
      return;
    }
    const type = (value as { type?: unknown } | null)?.type;
    if (name !== undefined && name !== type) {
      this.#add(operation, { field: "type", keyword: "event", message: `the event has the name ${name}`, value: type });
    }
    const validate = this.#validator(operation, schema);
    if (validate(value)) return;
    for (const error of telling(validate.errors!)) {
      const { keyword, message = "" } = error;
      this.#add(operation, { field: fieldOf(error), keyword, message, value: sentIn(error), type });
    }
  }

  #validator(operation: string, schema: Schema): ValidateFunction {
    let found = this.#compiled.get(operation);
    if (found === undefined) {
      found = this.#ajv.compile(new ClosedSchemas(this.#document.components.schemas).standalone(schema));
      this.#compiled.set(operation, found);
    }
    return found;
  }

  #add(operation: string, { field = "", keyword, message, value, type }: Fault): void {
    const allowed = this.#allowances.find(
      (allowance) =>
        (allowance.operation ?? operation) === operation &&
        (allowance.keywords ?? ["unevaluatedProperties"]).includes(keyword) &&
        `.${field}`.endsWith(`.${allowance.field}`),
    );
    if (allowed !== undefined) {
      this.#used.add(allowed);
      return;
    }
    const place = typeof type === "string" ? `${operation} ${type}` : operation;
    const key = JSON.stringify([place, field, keyword, message]);
    const known = this.#violations.get(key);
    if (known !== undefined) {
      known.count++;
      return;
    }
    const example = (typeof value === "string" ? value : String(JSON.stringify(value))).slice(0, 120);
    this.#violations.set(key, { operation: place, field, keyword, message, example, count: 1 });
  }

  /** The operation of the document: a path without parameters comes before one with them. */
  #operation(method: string, url: string): { path: string; content: Contents | undefined } | undefined {
    const paths = Object.keys(this.#document.paths).filter((path) => this.#document.paths[path]?.[method]);
    const path = paths.find((known) => known === url) ?? paths.find((known) => patternOf(known).test(url));
    if (path === undefined) return undefined;
    return { path, content: this.#document.paths[path]![method]!.responses?.["200"]?.content };
  }
}

interface Fault {
  field?: string;
  keyword: string;
  message: string;
  value: unknown;
  /** The member `type` of the body or event. */
  type?: unknown;
}

/** The schema of a body. Where the document describes none, any is right. */
function schemaOf(operation: string, content: { schema?: Schema } | undefined): Schema | undefined {
  const told = described.find((other) => other.operation === operation);
  if (told === undefined) return content?.schema;
  return told.schema === undefined ? true : reference(told.schema);
}

/** The name of a model may have a slash in it. */
function patternOf(path: string): RegExp {
  return new RegExp(
    `^${path
      .replace(/[.?]/g, "\\$&")
      .replace("{model}", ".+")
      .replace(/\{[^}]+\}/g, "[^/]+")}$`,
  );
}

function reference(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

/** The errors that name a field. Those of a choice only repeat that none of its alternatives fits. */
function telling(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  const named = errors.filter(({ keyword }) => keyword !== "if" && keyword !== "anyOf");
  return named.length > 0 ? named : errors;
}

function sentIn({ keyword, params, data }: ErrorObject): unknown {
  if (keyword !== "unevaluatedProperties") return data;
  return (data as Record<string, unknown>)[params.unevaluatedProperty as string];
}

function fieldOf({ instancePath, keyword, params }: ErrorObject): string {
  const parts = instancePath.split("/").slice(1);
  if (keyword === "unevaluatedProperties") parts.push(params.unevaluatedProperty);
  if (keyword === "required") parts.push(params.missingProperty);
  return parts
    .map((part) => (/^\d+$/.test(part) ? "[]" : part))
    .join(".")
    .replaceAll(".[]", "[]");
}
