import { hash, randomBytes } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { TurnMemory } from "../../chat/prompt.js";
import type { ReasoningMemory } from "../../chat/reasoning-memory.js";
import { GptOssError } from "../../errors.js";
import type { ConversationRenderer } from "../../harmony/conversation-renderer.js";
import type { ResponseStore } from "../responses/store.js";

/** What a tenant's requests leave behind. */
export interface Belongings extends TurnMemory {
  /** Finished responses, for `previous_response_id` and the endpoints of them. */
  responses: ResponseStore;
  reasoning: ReasoningMemory;
}

/** Whom requests come from: who has one key, or everybody where there are none. Another tenant sees nothing of its own. */
export class Tenant implements Belongings {
  readonly responses: ResponseStore;
  readonly reasoning: ReasoningMemory;
  readonly renderer: ConversationRenderer;
  readonly #secret: string | null;

  /** @param sharesPrefixes the prefix cache knows it from nobody */
  constructor({ responses, reasoning, renderer }: Belongings, sharesPrefixes: boolean) {
    this.responses = responses;
    this.reasoning = reasoning;
    this.renderer = renderer;
    // By chance, not of the key: what was computed for a key that was taken away is for nobody.
    this.#secret = sharesPrefixes ? null : randomBytes(32).toString("base64");
  }

  /** Within which the prefix cache knows what came before; `own`: the salt that a request names itself. */
  cacheSalt(own = ""): string {
    return this.#secret === null ? own : hash("sha256", this.#secret + own, "base64");
  }

  /** Forgets all; requests that still run leave nothing behind. */
  close(): void {
    this.responses.close();
    this.reasoning.close();
    this.renderer.close();
  }
}

const tenants = new WeakMap<FastifyRequest, Tenant>();

/** Once, by who lets requests in. */
export function setTenant(request: FastifyRequest, tenant: Tenant): void {
  tenants.set(request, tenant);
}

/** Whom a request comes from. @throws GptOssError INTERNAL for one that nobody has let in */
export function tenantOf(request: FastifyRequest): Tenant {
  const tenant = tenants.get(request);
  if (tenant === undefined) throw new GptOssError("INTERNAL", "A request was not asked whom it comes from");
  return tenant;
}
