/** The harmony format: converts messages to token ids and back. It needs no model and no network. */

export {
  type AssistantMessageOptions,
  assistantMessage,
  type DeveloperMessageOptions,
  developerMessage,
  type SystemMessageOptions,
  systemMessage,
  type ToolMessageOptions,
  toolMessage,
  userMessage,
} from "./builders.js";
export { builtinTools } from "./builtin-tools.js";
export {
  type CompletionOptions,
  type CompletionPrompt,
  ConversationRenderer,
  type ConversationRendererOptions,
} from "./conversation-renderer.js";
export type {
  ChannelConfig,
  Content,
  Conversation,
  ConversationObject,
  DeveloperContent,
  Message,
  ReasoningEffort,
  Role,
  SystemContent,
  TextContent,
  ToolDescription,
  ToolNamespace,
  ToolNamespaces,
} from "./message.js";
export {
  type ParserOptions,
  type ParserState,
  parseMessagesFromCompletionTokens,
  StreamableParser,
} from "./parser.js";
export {
  type ParsedDelta,
  type ParsedEvent,
  type ParsedMessage,
  RecoveringParser,
  type RecoveringParserOptions,
} from "./recovering-parser.js";
export {
  type RenderOptions,
  renderConversation,
  renderConversationForCompletion,
  renderConversationForTraining,
  renderMessage,
} from "./render.js";
export { stopTokens, stopTokensForAssistantActions } from "./tokens.js";
export type { FunctionDefinition, FunctionTool } from "./tools.js";
