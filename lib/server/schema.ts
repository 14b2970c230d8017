import { Ajv, type ErrorObject } from "ajv";
import type { FastifyRequest, FastifySchema, RouteShorthandOptions } from "fastify";
import { badRequest } from "./error-response.js";
import type { ApiError } from "./errors.js";

/** Takes values as they are: a string that could be a number is a mistake to tell of, not one to repair. */
const ajv = new Ajv({ strict: false, coerceTypes: false, useDefaults: false, removeAdditional: false });

/** Of a route whose body is checked by this JSON schema; what it does not mention passes. */
export function checkedBody(body: Record<string, unknown>): RouteShorthandOptions {
  return {
    schema: { body } satisfies FastifySchema,
    preValidation: dropNulls,
    validatorCompiler: ({ schema }) => ajv.compile(schema as Record<string, unknown>),
    schemaErrorFormatter: (errors) => refusal(errors as ErrorObject[]),
  };
}

/** A field that is null is as good as absent: clients write out all that they know of. */
async function dropNulls(request: FastifyRequest): Promise<void> {
  const { body } = request;
  if (body === null || typeof body !== "object" || Array.isArray(body)) return;
  request.body = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

function refusal(errors: readonly ErrorObject[]): ApiError {
  const [error] = errors as [ErrorObject, ...ErrorObject[]];
  const missing: unknown = error.params.missingProperty;
  const param = [pathOf(error.instancePath), missing]
    .filter((part) => typeof part === "string" && part !== "")
    .join(".");
  if (missing !== undefined) return badRequest(param, `${param} is required`);
  const allowed: unknown = error.params.allowedValues;
  const values = Array.isArray(allowed) ? `: ${allowed.map((value) => JSON.stringify(value)).join(", ")}` : "";
  return badRequest(param || null, `${param || "The body"} ${error.message ?? "is not valid"}${values}`);
}

/** `/messages/0/role` as a person writes it: `messages[0].role`. */
function pathOf(pointer: string): string {
  const parts = pointer.split("/").slice(1);
  const names = parts.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.map((name, i) => (/^\d+$/.test(name) ? `[${name}]` : i === 0 ? name : `.${name}`)).join("");
}
