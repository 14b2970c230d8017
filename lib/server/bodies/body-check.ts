import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { ApiError } from "../http/errors.js";
import { checkFields, isObject, type Members } from "./fields.js";
import { readBody } from "./json-body.js";

/** Our own instance: Fastify's would change values to fit the schema, and take `"1"` for a number. */
const ajv = new Ajv({ strict: false, coerceTypes: false, useDefaults: false, removeAdditional: false });

/** The limits that a body is checked against. */
export interface BodyLimits {
  /** Maximum tokens of one sequence. */
  contextLength: number;
}

/** A body that passed all checks that need only its text. */
export interface CheckedBody {
  fields: unknown;
  /** Unknown members, each once: `param` is the place of the first one, `name` its path without indexes. */
  unknown: { param: string; name: string }[];
}

/** Maximum number of unknown members that are reported for one body. */
const mostUnknown = 200;

/** All checks of a body before any work is done for it. They need only its text, so any thread can run them. */
export class BodyCheck {
  /** The name of the endpoint, the same on every thread. */
  readonly name: string;
  readonly #schema: Record<string, unknown>;
  readonly #known: Members;
  readonly #refuse: (fields: never, limits: BodyLimits) => void;
  readonly #absent: unknown;
  #validate: ValidateFunction | undefined;

  /**
   * @param refuse throws for a body that passes the schema and that no context can hold
   * @param absent what stands for a body that is not there
   */
  constructor(
    name: string,
    schema: Record<string, unknown>,
    known: Members,
    refuse: (fields: never, limits: BodyLimits) => void = () => {},
    absent?: object,
  ) {
    this.name = name;
    this.#schema = schema;
    this.#known = known;
    this.#refuse = refuse;
    this.#absent = absent;
  }

  /**
   * @param body JSON in UTF-8; undefined: there is no body
   * @throws ApiError
   */
  read(body: Buffer | undefined, limits: BodyLimits): CheckedBody {
    const given = body === undefined ? this.#absent : readBody(body);
    const unknown = new Map<string, string>();
    const fields = isObject(given) ? withoutNulls(given) : given;
    if (isObject(fields)) {
      checkFields(fields, this.#known, (param, name) => {
        if (!unknown.has(name) && unknown.size < mostUnknown) unknown.set(name, param);
      });
    }
    this.#validate ??= ajv.compile(this.#schema);
    if (!this.#validate(fields)) throw refusal(this.#validate.errors![0]!);
    this.#refuse(fields as never, limits);
    return { fields, unknown: [...unknown].map(([name, param]) => ({ param, name })) };
  }
}

/** A null field counts as absent: clients write out all fields that they know. */
function withoutNulls(body: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** `/messages/0/role` becomes `messages[0].role`. For a missing member, the path names that member. */
function refusal({ keyword, instancePath, params, message, propertyName }: ErrorObject): ApiError {
  const { missingProperty, allowedValues } = params as Record<string, unknown>;
  const names = instancePath
    .split("/")
    .slice(1)
    .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  for (const name of [missingProperty, propertyName]) if (typeof name === "string") names.push(name);
  const param = names.map((name, index) => (/^\d+$/.test(name) ? `[${name}]` : index > 0 ? `.${name}` : name)).join("");
  const allowed = Array.isArray(allowedValues)
    ? `: ${allowedValues.map((value) => JSON.stringify(value)).join(", ")}`
    : "";
  const what = keyword === "required" ? "is required" : `${message ?? "is not valid"}${allowed}`;
  return new ApiError(400, `${param === "" ? "The body" : `'${param}'`} ${what}.`, {
    param: param === "" ? null : param,
    code: "invalid_value",
  });
}
