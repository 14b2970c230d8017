import type { FastifyRequest } from "fastify";
import type { CheckedPluginOptions } from "../options.js";
import { ApiKeys } from "./api-keys.js";
import { clientAddress } from "./client-address.js";
import { setTenant } from "./tenant.js";
import { Tenants } from "./tenants.js";
import { WrongKeys } from "./wrong-keys.js";

/** Tells whom a request comes from, and lets nobody in who lacks a key where there are keys. */
export class Gate {
  /** Null: everybody may ask. */
  readonly #keys: ApiKeys | null;
  readonly #wrong: WrongKeys;
  readonly #tenants: Tenants;

  /** @throws GptOssError INVALID_ARGUMENT when the keys are not usable */
  constructor(
    { apiKeys, clock, sharePrefixes }: Pick<CheckedPluginOptions, "apiKeys" | "clock" | "sharePrefixes">,
    tenants = new Tenants({ clock, sharePrefixes }),
  ) {
    this.#keys = apiKeys ? new ApiKeys(apiKeys) : null;
    this.#wrong = new WrongKeys(clock);
    this.#tenants = tenants;
  }

  /**
   * Gives the request its tenant. Returns the name of whom limits count: a key, or an address where there are none.
   *
   * @throws ApiError 401, or 429 where too many wrong keys came from
   */
  admit(request: FastifyRequest): string {
    const key = this.identify(request);
    setTenant(request, key === null ? this.#tenants.everybody : this.#tenants.of(key));
    return key ?? clientAddress(request.ip);
  }

  /** The name of the key; null where there are none. @throws as `admit` does */
  identify({ headers, ip }: FastifyRequest): string | null {
    if (this.#keys === null) return null;
    const name = this.#keys.identify(headers.authorization);
    // A right key is never kept out for wrong ones: others may sit behind the same proxy.
    if (name === null) throw this.#wrong.refusal(clientAddress(ip));
    return name;
  }

  /**
   * Reads the file of keys again; a key that is gone takes with it what it owned. Returns how many there are.
   *
   * @throws GptOssError INVALID_ARGUMENT when it is not usable; all stays as it is then
   */
  reload(): number {
    if (this.#keys === null) return 0;
    const count = this.#keys.reload();
    this.#tenants.keepOnly(this.#keys.names);
    return count;
  }
}
