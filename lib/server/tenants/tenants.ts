import { ReasoningMemory, reasoningCharacters } from "../../chat/reasoning-memory.js";
import { SharedBound } from "../../common/bounded-cache.js";
import { ConversationRenderer } from "../../harmony/conversation-renderer.js";
import { ResponseStores, type StoreLimits } from "../responses/store.js";
import { Tenant } from "./tenant.js";

export interface TenantsOptions {
  clock?: () => Date;
  /** Tenants share the prefix cache. Default false. */
  sharePrefixes?: boolean;
  /** Of stored responses. */
  store?: StoreLimits;
}

/** All tenants of one server, and the bounds of what they own together. */
export class Tenants {
  /** Of a server that asks for no key. It needs no salt: nobody is apart from it. */
  readonly everybody: Tenant;
  readonly #sharePrefixes: boolean;
  readonly #stores: ResponseStores;
  readonly #reasoning = new SharedBound({ size: reasoningCharacters });
  readonly #renderer = new ConversationRenderer();
  readonly #ofKeys = new Map<string, Tenant>();

  constructor({ clock = () => new Date(), sharePrefixes = false, store }: TenantsOptions = {}) {
    this.#sharePrefixes = sharePrefixes;
    this.#stores = new ResponseStores(clock, store);
    this.everybody = this.#create(true);
  }

  /** Who has the key of this name. */
  of(name: string): Tenant {
    let tenant = this.#ofKeys.get(name);
    if (tenant === undefined) {
      tenant = this.#create(this.#sharePrefixes);
      this.#ofKeys.set(name, tenant);
    }
    return tenant;
  }

  /** Those whose key has another name are gone, and what they own with them. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const [name, tenant] of this.#ofKeys) {
      if (names.has(name)) continue;
      this.#ofKeys.delete(name);
      tenant.close();
    }
  }

  #create(sharesPrefixes: boolean): Tenant {
    const belongings = {
      responses: this.#stores.open(),
      reasoning: new ReasoningMemory(this.#reasoning),
      renderer: new ConversationRenderer({ sharedWith: this.#renderer }),
    };
    return new Tenant(belongings, sharesPrefixes);
  }
}
