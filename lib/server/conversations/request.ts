import { metadataField } from "../bodies/common-fields.js";

/** The bodies of the endpoints of conversations. */

/** Maximum items that one request can add. */
const mostItems = 20;
const items = { type: "array", maxItems: mostItems };

export const conversationSchema = { type: "object", properties: { items, metadata: metadataField } };
export const conversationUpdateSchema = {
  type: "object",
  required: ["metadata"],
  properties: { metadata: metadataField },
};
export const conversationItemsSchema = { type: "object", required: ["items"], properties: { items } };

/** The bodies, after the schemas have checked them. */
export interface ConversationBody {
  items?: unknown[];
  metadata?: Record<string, string>;
}
export type ConversationUpdateBody = Required<Pick<ConversationBody, "metadata">>;
export type ConversationItemsBody = Required<Pick<ConversationBody, "items">>;
