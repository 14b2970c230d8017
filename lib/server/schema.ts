import { Ajv, type ErrorObject } from "ajv";
import type { FastifyRequest, RouteShorthandOptions } from "fastify";
import { ApiError } from "./errors.js";

/** Fastify's own would repair what it finds, and take `"1"` for a number. */
const ajv = new Ajv({ strict: false, coerceTypes: false, useDefaults: false, removeAdditional: false });

/** Of a route whose body is checked by this JSON schema; what it does not mention passes. */
export function checkedBody(body: Record<string, unknown>): RouteShorthandOptions {
  return {
    schema: { body },
    preValidation: dropNulls,
    validatorCompiler: ({ schema }) => ajv.compile(schema as Record<string, unknown>),
    schemaErrorFormatter: (errors) => refusal((errors as ErrorObject[])[0]!),
  };
}

/** A field that is null is as good as absent: clients write out all that they know of. */
async function dropNulls(request: FastifyRequest): Promise<void> {
  const { body } = request;
  if (typeof body !== "object" || body === null || Array.isArray(body)) return;
  request.body = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** `/messages/0/role` is `messages[0].role`; what is missing is named itself. */
function refusal({ instancePath, params, message }: ErrorObject): ApiError {
  const missing: unknown = params.missingProperty;
  const names = instancePath
    .split("/")
    .slice(1)
    .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (typeof missing === "string") names.push(missing);
  const param = names.map((name, index) => (/^\d+$/.test(name) ? `[${name}]` : index > 0 ? `.${name}` : name)).join("");
  const allowed = (params as { allowedValues?: unknown[] }).allowedValues
    ?.map((value) => JSON.stringify(value))
    .join(", ");
  const what = `${message ?? "is not valid"}${allowed === undefined ? "" : `: ${allowed}`}`;
  return new ApiError(400, `${param === "" ? "The body" : `'${param}'`} ${what}.`, {
    param: param === "" ? null : param,
    code: "invalid_value",
  });
}
