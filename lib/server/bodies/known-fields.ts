import { fields, type Members, misplaced } from "./fields.js";

/**
 * The fields of each endpoint's body. The `inert` ones belong to OpenAI's API or vLLM's. They are accepted as they are
 * and have no effect on the answer, though a response repeats some of them.
 */

const useFormat = "the format of an answer is asked for in 'response_format'";
const useText = "the format of an answer is asked for in 'text.format'";

/**
 * Other servers' names for a format. If they were ignored, the answer would not have the format that the client asked
 * for.
 */
const otherFormats =
  "json_schema schema format grammar gbnf ebnf regex structural_tag output_format output_config response_schema responseSchema";

const structuredOutputs: Members = {
  ...fields("any", "json_object disable_fallback disable_any_whitespace disable_additional_properties _backend"),
  ...fields("any", "_backend_was_auto enable_in_reasoning"),
  ...fields("exact", "regex choice grammar structural_tag whitespace_pattern"),
  json: "schema",
};

const format: Members = {
  ...fields("exact", "type name"),
  ...fields("any", "description strict"),
  schema: "schema",
  json_schema: { ...fields("any", "description strict"), name: "exact", schema: "schema" },
};

const sampling: Members = {
  ...fields("any", "temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed n"),
  ...fields("any", "stop_token_ids ignore_eos min_tokens max_tokens include_stop_str_in_output stream priority"),
  ...fields("exact", "model stop logit_bias cache_salt guided_regex guided_choice guided_grammar"),
  guided_json: "schema",
  structured_outputs: structuredOutputs,
  response_format: format,
  stream_options: fields("any", "include_usage include_obfuscation continuous_usage_stats"),
  ...misplaced(otherFormats, useFormat),
};

const inert: Members = {
  ...fields(
    "any",
    "store service_tier prompt_cache_retention request_id add_special_tokens spaces_between_special_tokens",
  ),
  ...fields("any", "guided_decoding_backend guided_whitespace_pattern"),
  ...fields("exact", "metadata user safety_identifier prompt_cache_key"),
};

const message: Members = {
  ...fields("exact", "role name tool_call_id id"),
  ...fields("any", "refusal reasoning reasoning_content thinking reasoning_details annotations audio"),
  content: { ...fields("any", "text refusal annotations image_url input_audio file file_id file_url"), type: "exact" },
  tool_calls: {
    ...fields("exact", "id type"),
    index: "any",
    function: { name: "exact", arguments: "any" },
    custom: { name: "exact", input: "any" },
  },
  function_call: { name: "exact", arguments: "any" },
};

const customFormat: Members = {
  ...fields("exact", "type syntax definition"),
  grammar: fields("exact", "syntax definition"),
};
const customTool: Members = { name: "exact", description: "any", format: customFormat };

/** The fields from which a conversation is rendered. */
const conversation: Members = {
  model: "exact",
  messages: message,
  ...fields("any", "add_generation_prompt continue_final_message"),
  tools: {
    type: "exact",
    strict: "any",
    function: { ...fields("any", "description strict"), name: "exact", parameters: "schema" },
    custom: customTool,
  },
  tool_choice: "exact",
  functions: { name: "exact", description: "any", parameters: "schema" },
  function_call: "exact",
  reasoning_effort: "exact",
  reasoning: fields("any", "effort exclude enabled max_tokens"),
  chat_template_kwargs: "any",
  response_format: format,
  structured_outputs: structuredOutputs,
  ...fields("exact", "guided_regex guided_choice guided_grammar"),
  guided_json: "schema",
};

export const chatFields: Members = {
  ...sampling,
  ...conversation,
  ...inert,
  ...fields("any", "max_completion_tokens logprobs top_logprobs prompt_logprobs echo include_reasoning modalities"),
  ...fields("any", "verbosity prediction parallel_tool_calls audio web_search_options skip_special_tokens"),
  ...misplaced("text", useFormat),
};

export const completionFields: Members = {
  ...sampling,
  ...inert,
  ...fields("any", "prompt echo logprobs best_of suffix prompt_logprobs parse_special skip_special_tokens"),
  ...fields("any", "return_tokens_as_token_ids"),
};

export const tokenizeFields: Members = {
  ...conversation,
  ...fields("any", "prompt parse_special return_token_strs"),
  ...fields("any", "add_special_tokens"),
  cache_salt: "exact",
};

export const detokenizeFields: Members = { model: "exact", tokens: "any" };

const responseMessagePart: Members = { type: "exact", "*": "any" };

/** Items have many types, of this server and of others. This server keeps the members that it does not read. */
const item: Members = {
  ...fields("exact", "type role id call_id name namespace status phase"),
  content: responseMessagePart,
  "*": "any",
};

/** How a tool gets to the model and who calls it: of no effect here, where the model sees every tool from the start. */
const toolAccess = fields("any", "defer_loading allowed_callers");
const functionTool: Members = {
  ...fields("exact", "type name"),
  ...fields("any", "description strict output_schema"),
  ...toolAccess,
  parameters: "schema",
};
const hostedTool: Members = { type: "exact", "*": "any" };

function responseTool({ type }: Readonly<Record<string, unknown>>): Members {
  switch (type) {
    case "function":
      return functionTool;
    case "custom":
      return { ...customTool, ...toolAccess, type: "exact" };
    case "namespace":
      return { ...fields("exact", "type name"), description: "any", tools: responseTool };
    default:
      return hostedTool;
  }
}

export const responseFields: Members = {
  ...fields("any", "instructions max_output_tokens max_tool_calls temperature top_p top_logprobs seed"),
  ...fields("any", "presence_penalty frequency_penalty"),
  ...fields("any", "parallel_tool_calls stream stream_options store background prompt truncation"),
  ...fields("exact", "model previous_response_id include tool_choice"),
  ...fields("any", "service_tier prompt_cache_retention"),
  client_metadata: "any", // Codex sends it with each request
  ...fields("exact", "metadata user safety_identifier prompt_cache_key"),
  conversation: { id: "exact" },
  input: item,
  tools: responseTool,
  reasoning: fields("any", "effort summary generate_summary max_tokens"),
  text: {
    verbosity: "any",
    format: {
      ...fields("exact", "type name"),
      ...fields("any", "description strict"),
      schema: "schema",
      ...misplaced("json_schema", "the schema stands in 'text.format.schema'"),
    },
    ...misplaced("schema json_schema type name strict", useText),
  },
  ...misplaced(`response_format structured_outputs guided_json guided_regex guided_choice guided_grammar`, useText),
  ...misplaced(otherFormats, useText),
};

/** `personality` is a field of this endpoint alone. */
export const inputTokensFields: Members = { ...responseFields, personality: "any" };

export const conversationFields: Members = { items: item, metadata: "exact" };
export const conversationUpdateFields: Members = { metadata: "exact" };
export const conversationItemsFields: Members = { items: item };
