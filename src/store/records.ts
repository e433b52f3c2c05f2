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
 * `ending`: the key is to be deleted, and nobody is given it any more. `ended`: it is deleted.
 */
export type RegistrationStatus = 'pending' | 'active' | 'failed' | 'ending' | 'ended'

/** Why a key went, or goes: its time was over, another one took its place, or somebody took it back. */
export type EndReason = 'expired' | 'rotated' | 'revoked'

/** What makes a registration the next key of another one. */
export interface Rotation {
  /** The registration whose key is replaced. */
  readonly of: string
  /** How long the replaced key still works, in milliseconds. */
  readonly overlapMs: number
  /** The management token in its answer takes the place of the one there is. */
  readonly renewsManagement: boolean
}

/** What lets a request be recognised and answered again. Forgotten after a day, and when its token is revoked. */
export interface Idempotency {
  /** Of the idempotency key, scoped to the token. */
  readonly keyHash: Uint8Array
  /** Of the request's body. */
  readonly requestHash: Uint8Array
  /** The answer's secrets, readable only with what the caller has. */
  readonly sealed: Uint8Array
}

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
  readonly idempotency: Idempotency | null
  /** `null`: it is a registration of its own. */
  readonly rotation: Rotation | null
}

/** Who works on a registration, and until when nobody else may. A lease that is not renewed lapses. */
export interface Lease {
  readonly owner: string
  readonly until: number
}

/** A registration, and the owner of the lease under which it is worked on. */
export interface Held {
  readonly id: string
  readonly owner: string
}

export interface Registration extends NewRegistration {
  readonly status: RegistrationStatus
  readonly apiKeyId: string | null
  /** When the status became `active`, `failed` or `ended`. */
  readonly endedAt: number | null
  /** The error code of a `failed` registration; of an `ending` one, why its key could not be deleted yet. */
  readonly failure: string | null
  /** When a caller was given the key; `null` for an `active` one: it waits for its retry. */
  readonly answeredAt: number | null
  /** When to look in API Gateway once more for a key that came late, though the registration failed; `null`: no need. */
  readonly sweepAt: number | null
  /** Its key is being deleted: nobody may be given it any more. */
  readonly undoing: boolean
  /** When the key goes: it expires or its overlap is over; of an `ending` one, when to try next. `null`: never. */
  readonly endsAt: number | null
  readonly endReason: EndReason | null
  /** Of a rotation that was answered: the registration or rotation whose key it replaced. */
  readonly replacedId: string | null
  /** The rotation whose key is the one of this registration now; `null`: its own. */
  readonly currentId: string | null
  /** SHA-256 of the management token before the last renewal: good for asking again for the renewal's answer. */
  readonly previousManagementHash: Uint8Array | null
}
