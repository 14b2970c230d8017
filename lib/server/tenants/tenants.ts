import { randomBytes } from "node:crypto";
import { ReasoningMemory, reasoningCharacters } from "../../chat/reasoning-memory.js";
import { SharedBound } from "../../common/bounded-cache.js";
import { ConversationRenderer } from "../../harmony/conversation-renderer.js";
import { ReasoningSeal } from "../responses/reasoning-seal.js";
import { ResponseStores, type StoreLimits } from "../responses/store.js";
import { Tenant } from "./tenant.js";

export interface TenantsOptions {
  clock?: () => Date;
  /** Tenants share the prefix cache. Default false. */
  sharePrefixes?: boolean;
  /** They open the reasoning that clients carry, and the first one seals it. Default: a random one. */
  reasoningKeys?: readonly string[] | null;
  /** Limits of stored responses. */
  store?: StoreLimits;
}

/** All tenants of one server, and the common limits of their data. */
export class Tenants {
  /** The tenant of a server without keys. It needs no salt, because there is no other tenant. */
  readonly everybody: Tenant;
  readonly #sharePrefixes: boolean;
  readonly #reasoningKeys: readonly string[];
  readonly #stores: ResponseStores;
  readonly #reasoning = new SharedBound({ size: reasoningCharacters });
  readonly #renderer = new ConversationRenderer();
  readonly #ofKeys = new Map<string, Tenant>();

  constructor({ clock = () => new Date(), sharePrefixes = false, reasoningKeys, store }: TenantsOptions = {}) {
    this.#sharePrefixes = sharePrefixes;
    this.#reasoningKeys = reasoningKeys ?? [randomBytes(32).toString("base64")];
    this.#stores = new ResponseStores(clock, store);
    this.everybody = this.#create("everybody", true);
  }

  /** Returns the tenant with the key of this name. */
  of(name: string): Tenant {
    let tenant = this.#ofKeys.get(name);
    if (tenant === undefined) {
      tenant = this.#create(name, this.#sharePrefixes);
      this.#ofKeys.set(name, tenant);
    }
    return tenant;
  }

  /** Closes the tenants whose key is not among these names, and deletes their data. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const [name, tenant] of this.#ofKeys) {
      if (names.has(name)) continue;
      this.#ofKeys.delete(name);
      tenant.close();
    }
  }

  #create(name: string, sharesPrefixes: boolean): Tenant {
    const belongings = {
      responses: this.#stores.open(),
      reasoning: new ReasoningMemory(this.#reasoning),
      renderer: new ConversationRenderer({ sharedWith: this.#renderer }),
    };
    return new Tenant(belongings, new ReasoningSeal(this.#reasoningKeys, name), sharesPrefixes);
  }
}
