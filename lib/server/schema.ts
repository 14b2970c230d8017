import { Ajv, type ErrorObject } from "ajv";
import type { FastifyRequest, RouteShorthandOptions } from "fastify";
import { checkFields, type Members } from "./body-fields.js";
import type { ServerContext } from "./context.js";
import { ApiError } from "./errors.js";
import { OnceLog } from "./once-log.js";

/** Fastify's own would repair what it finds, and take `"1"` for a number. */
const ajv = new Ajv({ strict: false, coerceTypes: false, useDefaults: false, removeAdditional: false });

/** Characters of a client's own name for a field that the log tells. */
const maxName = 64;

/** Of a route whose body is checked by this JSON schema, and has these fields. */
export function checkedBody(
  body: Record<string, unknown>,
  known: Members,
  context: Pick<ServerContext, "logger" | "strictRequests">,
): RouteShorthandOptions {
  const log = new OnceLog(context.logger);
  return {
    schema: { body },
    preValidation: async (request) => {
      const fields = dropNulls(request);
      if (fields === null) return;
      checkFields(fields, known, (param, name) => {
        if (context.strictRequests) throw unknownField(param);
        const line = { path: request.routeOptions.url, field: name.slice(0, maxName) };
        log.warn(name, line, "a field of a request's body is not known here and has no effect");
      });
    },
    validatorCompiler: ({ schema }) => ajv.compile(schema as Record<string, unknown>),
    schemaErrorFormatter: (errors) => refusal((errors as ErrorObject[])[0]!),
  };
}

/** A field that is null is as good as absent: clients write out all that they know of. */
function dropNulls(request: FastifyRequest): Record<string, unknown> | null {
  const { body } = request;
  if (typeof body !== "object" || body === null || Array.isArray(body)) return null;
  const fields = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
  request.body = fields;
  return fields;
}

function unknownField(param: string): ApiError {
  return new ApiError(400, `'${param}' is not a field that this server knows.`, { param, code: "unknown_parameter" });
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
