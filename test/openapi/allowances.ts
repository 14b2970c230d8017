/** Where the server's answers are meant to differ from OpenAI's document. This is the only place that says so. */

/** Paths that are not OpenAI's. Their errors still have OpenAI's form. */
export const outside: readonly { path: string; reason: string }[] = [
  { path: "/health", reason: "for load balancers" },
  { path: "/live", reason: "for load balancers" },
  { path: "/ready", reason: "for load balancers" },
  { path: "/ping", reason: "for load balancers" },
  { path: "/version", reason: "the server's own" },
  { path: "/metrics", reason: "for Prometheus" },
  { path: "/tokenize", reason: "vLLM's" },
  { path: "/detokenize", reason: "vLLM's" },
];

/** Routes that a test adds to the server, or has in the app that it mounts the server in. */
export const ofTests: readonly { path: string; reason: string }[] = [
  { path: "/v1/hold", reason: "holds a request" },
  { path: "/v1/work", reason: "makes the engine work" },
  { path: "/mine", reason: "is of the app that the server is mounted in" },
  { path: "/broken", reason: "is of the app that the server is mounted in, and fails" },
  { path: "/", reason: "streams to a reader that reads nothing" },
  { path: "/nothing", reason: "is not there, and the app around the server says so" },
];

/** Where a test mounts the server in another app. */
export const mountedAt = /^\/ai(?=\/)/;

/** Answers that the document describes elsewhere than in the operation. Without a schema, it describes no body. */
export const described: readonly { operation: string; schema?: string; reason: string }[] = [
  {
    operation: "post /completions stream",
    schema: "CreateCompletionResponse",
    reason: "the schema's own description says that events of a stream have its shape",
  },
  {
    operation: "get /responses/{response_id} stream",
    schema: "ResponseStreamEvent",
    reason: "the parameter `stream` says that the events are those of a new response",
  },
  {
    operation: "delete /responses/{response_id}",
    reason: "the operation's example has the body that is sent, but there is no schema",
  },
];

export interface Allowance {
  /** The operation, such as "post /completions stream". Missing: every one. */
  operation?: string;
  /** The end of a violation's field, with its indices left out. */
  field: string;
  /** The keywords of JSON Schema that the answer violates. Default: a property that the document does not name. */
  keywords?: readonly string[];
  reason: string;
}

const openResponses = "Open Responses requires it, and OpenAI's service sends it";
const vllm = "vLLM's name: clients for it read it";

export const allowances: readonly Allowance[] = [
  ...["max_model_len", "parent", "permission", "root"].flatMap((name) => [
    { operation: "get /models", field: `data[].${name}`, reason: vllm },
    { operation: "get /models/{model}", field: name, reason: vllm },
  ]),
  ...["message", "delta"].flatMap((part) =>
    ["reasoning", "reasoning_content"].map((name) => ({
      field: `choices[].${part}.${name}`,
      reason: "the names under which servers of gpt-oss give the reasoning",
    })),
  ),
  { field: "choices[].stop_reason", reason: vllm },
  { operation: "post /chat/completions", field: "prompt_logprobs", reason: vllm },
  { operation: "post /completions", field: "choices[].prompt_logprobs", reason: vllm },
  ...["post /completions", "post /completions stream"].flatMap((operation) =>
    ["token_logprobs[]", "top_logprobs[]"].map((name) => ({
      operation,
      field: `choices[].logprobs.${name}`,
      keywords: ["type"],
      reason: "null for the first token of an echoed prompt, which follows no other: the document has only completions",
    })),
  ),
  ...["custom", "type"].map((name) => ({
    operation: "post /chat/completions stream",
    field: `choices[].delta.tool_calls[].${name}`,
    ...(name === "type" && { keywords: ["enum"] }),
    reason: "the document has calls of custom tools in whole answers, and none in a stream",
  })),
  {
    operation: "post /completions stream",
    field: "choices[].finish_reason",
    keywords: ["type", "enum"],
    reason: "null before the end, as in chat completions: the document has no schema for a stream",
  },
  {
    operation: "post /completions stream",
    field: "usage",
    keywords: ["type"],
    reason: "null before the last event, as in chat completions: the document has no schema for a stream",
  },
  ...["frequency_penalty", "presence_penalty", "store"].map((field) => ({ field, reason: openResponses })),
  {
    field: "response.usage",
    keywords: ["type"],
    reason: "null until the end, as in the document's own examples of these events",
  },
  ...["post /responses", "get /responses/{response_id}", "post /responses/{response_id}/cancel"].map((operation) => ({
    operation,
    field: "usage",
    keywords: ["type"],
    reason: "null in a background response without an end, as in the document's own examples of events",
  })),
  ...["get", "post"].flatMap((method) =>
    ["first_id", "last_id"].map((field) => ({
      operation: `${method} /conversations/{conversation_id}/items`,
      field,
      keywords: ["type"],
      reason: "null in an empty list, as in the document's lists of other objects",
    })),
  ),
  ...["output[].status", "item.status"].map((field) => ({
    field,
    reason: "the document has it in a stored custom tool call, and lacks it in an answer",
  })),
  ...["post /responses stream", "get /responses/{response_id} stream"].flatMap((operation) =>
    ["logprobs[].bytes", "top_logprobs[].bytes"].map((field) => ({
      operation,
      field,
      reason: "Open Responses requires it, and the document has it in the item of the same text",
    })),
  ),
  ...["call_id", "request_id"].map((name) => ({
    operation: "get /responses/{response_id}/input_items",
    field: `data[].${name}`,
    reason: "the document requires it of a shell's output and of an approval, and describes it nowhere",
  })),
  { field: "tool_choice.namespace", reason: "an extension: a tool in a namespace can be chosen, and is repeated" },
  { field: "text.format.schema", reason: "an extension: a schema beside json_object is kept, and repeated" },
  { field: "tools[].params", reason: "a tool is repeated with what else the client wrote in it" },
];
