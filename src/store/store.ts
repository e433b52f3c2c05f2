/** What the operator decides when a bootstrap token is created. Times are milliseconds. */
export interface TokenPolicy {
  readonly label: string
  /** Plans a registration may ask for, the first is the default. Empty: the default plan of the service only. */
  readonly plans: readonly string[]
  /** How many registrations the token allows; `null`: any number. */
  readonly maxUses: number | null
  /** Since the epoch; `null`: never. */
  readonly expiresAt: number | null
  /** How long the minted keys live; `null`: for ever. */
  readonly keyTtlMs: number | null
  /** What the names of registrations must start with; empty: anything. */
  readonly namePrefix: string
  /** Requests a minute; `null`: no limit of its own. */
  readonly ratePerMinute: number | null
}

/** A bootstrap token as it is remembered: everything but the secret itself. */
export interface BootstrapToken extends TokenPolicy {
  readonly id: string
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array
  /** Registrations that are pending or active; failed ones have given their use back. */
  readonly uses: number
  readonly createdAt: number
  readonly revokedAt: number | null
}

/**
 * `pending`: begun, and API Gateway may or may not hold a key for it.
 * `active`: the key works and was answered. `failed`: undone, no key is left and the use was given back.
 */
export type RegistrationStatus = 'pending' | 'active' | 'failed'

/** What is known of a registration before API Gateway is called. */
export interface NewRegistration {
  readonly id: string
  readonly tokenId: string
  readonly name: string
  readonly description: string
  readonly plan: string
  readonly usagePlanId: string
  /** SHA-256 of the management token. */
  readonly managementHash: Uint8Array
  readonly createdAt: number
  /** When the key ends; `null`: never. */
  readonly expiresAt: number | null
}

export interface Registration extends NewRegistration {
  readonly status: RegistrationStatus
  readonly apiKeyId: string | null
  /** When the status became `active` or `failed`. */
  readonly endedAt: number | null
  /** The error code of a `failed` registration. */
  readonly failure: string | null
}

export type BeginOutcome =
  | { readonly outcome: 'begun' }
  /** The token may not be used: it is as returned here, or gone (`null`). Nothing was written. */
  | { readonly outcome: 'refused'; readonly token: BootstrapToken | null }

/**
 * Everything the service remembers. Each method is atomic and durable when its promise resolves, whatever
 * other processes do on the same store at the same time.
 *
 * Every method throws ServiceError `store_unavailable` if the store cannot be read or written now.
 */
export interface Store {
  createToken(token: BootstrapToken): Promise<void>
  findTokenByHash(secretHash: Uint8Array): Promise<BootstrapToken | undefined>
  getToken(id: string): Promise<BootstrapToken | undefined>
  /** All tokens, newest first. */
  listTokens(): Promise<BootstrapToken[]>
  /** Marks the token revoked and returns it; a token that is revoked already keeps its first date. */
  revokeToken(id: string, now: number): Promise<BootstrapToken | undefined>

  /** Spends one use of the token and records the registration as `pending`, both or neither. */
  beginRegistration(registration: NewRegistration): Promise<BeginOutcome>
  /** `pending` becomes `active`. Answers `false`, changing nothing, if the registration is not pending any more. */
  completeRegistration(id: string, apiKeyId: string, now: number): Promise<boolean>
  /** `pending` becomes `failed` and the use is given back, both or neither; `false` if it is not pending any more. */
  failRegistration(id: string, failure: string, now: number): Promise<boolean>
  getRegistration(id: string): Promise<Registration | undefined>

  /** Resolves if the store answers and can be written to. */
  ping(): Promise<void>
  close(): Promise<void>
}
