import { hash, randomBytes } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { TurnMemory } from "../../chat/prompt.js";
import type { ReasoningMemory } from "../../chat/reasoning-memory.js";
import { GptOssError } from "../../errors.js";
import type { ConversationRenderer } from "../../harmony/conversation-renderer.js";
import type { ReasoningSeal } from "../responses/reasoning-seal.js";
import type { ResponseStore } from "../responses/store.js";

/** The data that a tenant's requests leave behind. */
export interface Belongings extends TurnMemory {
  /** Finished responses, for `previous_response_id` and the endpoints of stored responses. */
  responses: ResponseStore;
  reasoning: ReasoningMemory;
}

/** The owner of one key, or all clients where there are no keys. A tenant's data is invisible to other tenants. */
export class Tenant implements Belongings {
  readonly responses: ResponseStore;
  readonly reasoning: ReasoningMemory;
  readonly renderer: ConversationRenderer;
  /** Encrypts the reasoning that its clients carry. */
  readonly seal: ReasoningSeal;
  readonly #secret: string | null;

  /** @param sharesPrefixes whether it shares the prefix cache with other tenants */
  constructor({ responses, reasoning, renderer }: Belongings, seal: ReasoningSeal, sharesPrefixes: boolean) {
    this.responses = responses;
    this.reasoning = reasoning;
    this.renderer = renderer;
    this.seal = seal;
    // Random, not derived from the key: a new tenant cannot reach the cache of a removed key.
    this.#secret = sharesPrefixes ? null : randomBytes(32).toString("base64");
  }

  /** The salt that separates prefixes in the cache; `own`: the salt that the request itself names. */
  cacheSalt(own = ""): string {
    return this.#secret === null ? own : hash("sha256", this.#secret + own, "base64");
  }

  /** Deletes everything. Requests that still run leave nothing behind. */
  close(): void {
    this.responses.close();
    this.reasoning.close();
    this.renderer.close();
  }
}

const tenants = new WeakMap<FastifyRequest, Tenant>();

/** Sets the tenant once, when a request is admitted. */
export function setTenant(request: FastifyRequest, tenant: Tenant): void {
  tenants.set(request, tenant);
}

/** Returns the tenant of a request. @throws GptOssError INTERNAL for a request that was not admitted */
export function tenantOf(request: FastifyRequest): Tenant {
  const tenant = tenants.get(request);
  if (tenant === undefined) throw new GptOssError("INTERNAL", "A request has no tenant: it was not admitted");
  return tenant;
}
