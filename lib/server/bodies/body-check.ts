import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { ApiError } from "../http/errors.js";
import { checkFields, isObject, type Members } from "./fields.js";
import { readBody } from "./json-body.js";

/** Fastify's own would repair what it finds, and take `"1"` for a number. */
const ajv = new Ajv({ strict: false, coerceTypes: false, useDefaults: false, removeAdditional: false });

/** What a body is measured against. */
export interface BodyLimits {
  /** Tokens of one sequence. */
  contextLength: number;
}

/** A body that may be answered, as far as its text tells. */
export interface CheckedBody {
  fields: unknown;
  /** Members that are not known, each once: where the first of them stands, and its path without indexes. */
  unknown: { param: string; name: string }[];
}

/** Unknown members of one body that are told of. */
const mostUnknown = 200;

/** All that a body is asked before anything is done for it; needs nothing but its text, so any thread can do it. */
export class BodyCheck {
  /** Of the endpoint, on whatever thread. */
  readonly name: string;
  readonly #schema: Record<string, unknown>;
  readonly #known: Members;
  readonly #refuse: (fields: never, limits: BodyLimits) => void;
  #validate: ValidateFunction | undefined;

  /** @param refuse throws for a body that the schema lets through, and that no context can hold */
  constructor(
    name: string,
    schema: Record<string, unknown>,
    known: Members,
    refuse: (fields: never, limits: BodyLimits) => void = () => {},
  ) {
    this.name = name;
    this.#schema = schema;
    this.#known = known;
    this.#refuse = refuse;
  }

  /**
   * @param body JSON in UTF-8; undefined: there is none
   * @throws ApiError
   */
  read(body: Buffer | undefined, limits: BodyLimits): CheckedBody {
    const given = body === undefined ? undefined : readBody(body);
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

/** A field that is null is as good as absent: clients write out all that they know of. */
function withoutNulls(body: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** `/messages/0/role` is `messages[0].role`; what is missing is named itself. */
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
