/** The objects of the Responses API, with the order and spelling of its documentation. */

export type ItemStatus = "in_progress" | "completed" | "incomplete";

export interface TokenLogprob {
  token: string;
  bytes: number[];
  logprob: number;
}

export interface OutputLogprob extends TokenLogprob {
  top_logprobs: TokenLogprob[];
}

export interface OutputText {
  type: "output_text";
  text: string;
  annotations: never[];
  logprobs: Iterable<OutputLogprob>;
}

export interface SummaryText {
  type: "summary_text";
  text: string;
}

export interface ReasoningItem {
  type: "reasoning";
  id: string;
  summary: SummaryText[];
  content: { type: "reasoning_text"; text: string }[];
  /** Present in an item that has ended, if the request includes it. */
  encrypted_content?: string;
  status: ItemStatus;
}

export interface MessageItem {
  type: "message";
  id: string;
  role: "assistant";
  /** The channel on which the model wrote it. */
  phase: "commentary" | "final_answer";
  status: ItemStatus;
  content: OutputText[];
}

export interface FunctionCallItem {
  type: "function_call";
  id: string;
  call_id: string;
  /** Present where the tool was declared in a namespace. */
  namespace?: string;
  name: string;
  arguments: string;
  status: ItemStatus;
}

export interface CustomToolCallItem {
  type: "custom_tool_call";
  id: string;
  call_id: string;
  /** As in `FunctionCallItem`. */
  namespace?: string;
  name: string;
  input: string;
  status: ItemStatus;
}

export type OutputItem = ReasoningItem | MessageItem | FunctionCallItem | CustomToolCallItem;

export interface ResponseUsage {
  input_tokens: number;
  input_tokens_details: { cached_tokens: number; cache_write_tokens: number };
  output_tokens: number;
  output_tokens_details: { reasoning_tokens: number };
  total_tokens: number;
}

/**
 * The fields of a response that only repeat the request. A field is null only where OpenAI's document or that of Open
 * Responses allows it; others are left out.
 */
export interface ResponseSettings {
  background: boolean;
  /** Present where the request names a conversation. */
  conversation?: { id: string };
  frequency_penalty: number;
  instructions: string | null;
  max_output_tokens: number | null;
  max_tool_calls: number | null;
  model: string;
  parallel_tool_calls: boolean;
  presence_penalty: number;
  previous_response_id: string | null;
  prompt_cache_key: string | null;
  reasoning: { effort: string; summary: string | null };
  safety_identifier: string | null;
  /** There is one tier, whichever the request names. */
  service_tier: "default";
  store: boolean;
  temperature: number;
  text: { format: Record<string, unknown>; verbosity?: string };
  tool_choice: unknown;
  tools: unknown[];
  top_logprobs: number;
  top_p: number;
  truncation: "auto" | "disabled";
  user?: string;
  metadata: Record<string, string>;
}

export interface ResponseObject extends ResponseSettings {
  id: string;
  object: "response";
  /** Unix seconds, here and below. */
  created_at: number;
  completed_at: number | null;
  /** Only a background response is ever `queued` or `cancelled`. */
  status: "queued" | "in_progress" | "completed" | "incomplete" | "failed" | "cancelled";
  error: { code: string; message: string } | null;
  incomplete_details: { reason: "max_output_tokens" } | null;
  output: OutputItem[];
  usage: ResponseUsage | null;
}

/** An event of the stream. Its other members depend on its type. */
export type StreamEvent = { type: string; sequence_number: number } & Record<string, unknown>;
