import type { CheckedMessage, DeveloperContent, SystemContent } from "./message.js";
import { functionsNamespace, toolsSection } from "./tools.js";

/** Returns the text of the system message: sections joined by a blank line, without the sections of absent fields. */
export function systemText(system: SystemContent, hasFunctionTools: boolean): string {
  const top: string[] = [];
  if (isSet(system.model_identity)) top.push(system.model_identity);
  if (isSet(system.knowledge_cutoff)) top.push(`Knowledge cutoff: ${system.knowledge_cutoff}`);
  if (isSet(system.conversation_start_date)) top.push(`Current date: ${system.conversation_start_date}`);

  const sections: string[] = [];
  if (top.length > 0) sections.push(top.join("\n"));
  if (isSet(system.reasoning_effort)) sections.push(`Reasoning: ${system.reasoning_effort.toLowerCase()}`);
  if (isSet(system.tools) && Object.keys(system.tools).length > 0) sections.push(toolsSection(system.tools));
  if (isSet(system.channel_config) && system.channel_config.valid_channels.length > 0) {
    const { valid_channels, channel_required } = system.channel_config;
    let channels = `# Valid channels: ${valid_channels.join(", ")}.`;
    if (channel_required) channels += " Channel must be included for every message.";
    if (hasFunctionTools) channels += "\nCalls to these tools must go to the commentary channel: 'functions'.";
    sections.push(channels);
  }
  return sections.join("\n\n");
}

/** Returns the text of a developer message: instructions, then tools. Empty instructions still have their heading. */
export function developerText(developer: DeveloperContent): string {
  const sections: string[] = [];
  if (isSet(developer.instructions)) sections.push("# Instructions", developer.instructions);
  if (isSet(developer.tools) && Object.keys(developer.tools).length > 0) sections.push(toolsSection(developer.tools));
  return sections.join("\n\n");
}

/** Whether any developer message declares functions. The system message then states the channel of their calls. */
export function declaresFunctions(messages: readonly CheckedMessage[]): boolean {
  return messages.some((message) =>
    message.content.some(
      (part) => part.type === "developer_content" && (part.tools?.[functionsNamespace]?.tools.length ?? 0) > 0,
    ),
  );
}

function isSet<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}
