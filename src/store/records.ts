import { type ErrorCode, errorCodes } from '../error-catalogue.ts'

/** The policy that an operator gives a bootstrap token. Times and durations are in milliseconds. */
export interface TokenPolicy {
  readonly label: string
  /** Plans that a registration may request; the first is the default. Empty: only the default plan of the service. */
  readonly plans: readonly string[]
  /** The number of registrations that the token allows; `null`: unlimited. */
  readonly maxUses: number | null
  /** Milliseconds since the epoch; `null`: never. */
  readonly expiresAt: number | null
  /** The lifetime of the minted keys; `null`: unlimited. */
  readonly keyTtlMs: number | null
  /** The prefix that every registration's name must have; empty: no restriction. */
  readonly namePrefix: string
  /** Requests a minute; `null`: the token has no limit of its own. */
  readonly ratePerMinute: number | null
}

/**
 * What makes a bootstrap token a virtual one: the federated identity that it stands for, and the rest of its grant. No secret of
 * it exists: its `secretHash` is that of a text that no caller can present.
 */
export interface Federation {
  /** The issuer's URL, as in the claim `iss`. */
  readonly issuer: string
  /** The id of the rule that granted it. */
  readonly rule: string
  /** The claims that make it the same caller. */
  readonly identity: Readonly<Record<string, string | number | boolean>>
  /** The number of its registrations that may be pending or alive at once; `null`: unlimited. */
  readonly maxLive: number | null
  /** The effect of a registration under a name that a registration of it holds already. */
  readonly onRepeat: (typeof ON_REPEAT)[number]
  /** With `rotate`: the time for which the replaced key keeps working, in milliseconds. */
  readonly overlapMs: number
  /** {@link TokenPolicy.namePrefix} is the whole name. */
  readonly nameIsExact: boolean
}

export const ON_REPEAT = ['rotate', 'refuse', 'add'] as const

/** A bootstrap token as it is stored: everything except the secret itself. */
export interface BootstrapToken extends TokenPolicy {
  readonly id: string
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array
  /**
   * The number of registrations that are not `failed`: a failed registration refunds its use. Of a virtual token, the number of
   * those that hold a place, see {@link Registration.holdsPlace}.
   */
  readonly uses: number
  readonly createdAt: number
  readonly revokedAt: number | null
  /** `null`: an ordinary token. */
  readonly federation: Federation | null
}

/** A registration can spend a use of the token, as far as its uses are concerned. */
export function hasUseLeft(token: Pick<BootstrapToken, 'maxUses' | 'uses' | 'federation'>): boolean {
  const most = mostUses(token)
  return most === null || token.uses < most
}

/** The most uses that a token may have at once; `null`: unlimited. */
export function mostUses({
  maxUses,
  federation,
}: Pick<BootstrapToken, 'maxUses' | 'federation'>): number | null {
  return federation === null ? maxUses : federation.maxLive
}

/**
 * The stored status of a registration or rotation. `registration/lifecycle.ts` has the phases that it stands for together
 * with the other fields, and the transitions between them.
 *
 * - `pending`: recorded; API Gateway may hold a key for it.
 * - `active`: API Gateway holds the key, attached to its plan. {@link Registration.answeredAt} says whether a caller received it.
 * - `failed`: undone; no key is left and the use is refunded.
 * - `ending`: the key is about to be deleted and is returned to no caller any more.
 * - `ended`: the key is deleted.
 */
export const REGISTRATION_STATUSES = ['pending', 'active', 'failed', 'ending', 'ended'] as const
export type RegistrationStatus = (typeof REGISTRATION_STATUSES)[number]

/** The reason for which a key ends: it expired, a rotation replaced it, or its owner or an operator revoked it. */
export const END_REASONS = ['expired', 'rotated', 'revoked'] as const
export type EndReason = (typeof END_REASONS)[number]

/**
 * The reason for which a registration failed, or for which a key could not be deleted yet: the code of the error,
 * `client_closed` if all callers had disconnected, `abandoned` where recovery undid what a dead process had left pending, or
 * `undelivered` where it stayed in doubt whether a caller received the key.
 */
export type Failure = ErrorCode | 'client_closed' | 'abandoned' | 'undelivered'
/** Every failure. Records contain them: a code that was released is never removed. */
export const FAILURES: readonly Failure[] = [...errorCodes, 'client_closed', 'abandoned', 'undelivered']

/** The part of a record that makes it a rotation: it mints the next key of a registration. */
export interface Rotation {
  /** The id of the registration whose key is replaced. */
  readonly of: string
  /** The time for which the replaced key keeps working, in milliseconds. */
  readonly overlapMs: number
  /** The management token of this rotation replaces the registration's present one. */
  readonly renewsManagement: boolean
}

/**
 * The part of a record that lets a retry be recognised and answered again. It is forgotten after a day; for registrations
 * (not for rotations) also when their bootstrap token is revoked.
 */
export interface Idempotency {
  /** HMAC of the idempotency key, scoped to the token. */
  readonly keyHash: Uint8Array
  /** SHA-256 of the request's body. */
  readonly requestHash: Uint8Array
  /** The secrets of the response, readable only with the secrets that the caller presents. */
  readonly sealed: Uint8Array
}

/** A credential that can be used once: an identity token, an access token or a login code. */
export interface Proof {
  /** SHA-256 of what identifies it: issuer and `jti`, or the token or code itself. */
  readonly hash: Uint8Array
  /** Milliseconds since the epoch until which it is remembered: from then on it is accepted by no check of its times. */
  readonly expiresAt: number
}

/** A token that an identity was exchanged for: it registers once, for its virtual token. The record has no secret. */
export interface AccessToken {
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array
  readonly tokenId: string
  readonly expiresAt: number
  /** Claimed as it was issued; `null`: the credential may be used again. */
  readonly proof: Proof | null
}

/** What a registration or rotation of a federated caller claims as it begins. */
export interface Federated {
  /** Claimed for this record, and given back if it fails; `null`: the credential may be used again. */
  readonly proof: Proof | null
  /** Its name is unique among the registrations of its token that hold a place. `false` for a rotation. */
  readonly holdsName: boolean
}

/** The fields of a registration or rotation that are fixed before API Gateway is called. */
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
  /** The time at which the key expires; `null`: never. */
  readonly expiresAt: number | null
  readonly idempotency: Idempotency | null
  /** `null`: a registration of its own. */
  readonly rotation: Rotation | null
  /** The metadata that an OAuth client registered (RFC 7591), as JSON; `null`: it is no OAuth client, or a rotation of an earlier version. */
  readonly clientMetadata: string | null
  /** `null`: no federated caller asked for it. */
  readonly federated: Federated | null
  /**
   * Its key is one of the pool that the API had accepted: API Gateway has counted requests that are not its caller's. Left out:
   * it is not.
   */
  readonly seenWorking?: boolean | undefined
}

/**
 * The exclusive right of `owner` to work on something until `until`. A lease that is not renewed expires. One that ends too
 * far ahead was taken by a clock that was wrong, and counts as expired: see `hasCome` of `registration/lifecycle.ts`.
 */
export interface Lease {
  readonly owner: string
  readonly until: number
}

/** The id of a registration, and the owner of the lease under which it is worked on. */
export interface Held {
  readonly id: string
  readonly owner: string
}

/** Requests by day (`YYYY-MM-DD`, UTC), without days that had none. */
export type DailyUsage = Readonly<Record<string, number>>

/** A registration or rotation as it is stored. */
export interface Registration extends NewRegistration {
  readonly status: RegistrationStatus
  readonly apiKeyId: string | null
  /** The time at which the status became `active`, `failed` or `ended`. */
  readonly endedAt: number | null
  /** `failed`: why. `ending`: why the last deletion of the key failed; `null`: none has failed. */
  readonly failure: Failure | null
  /**
   * The time at which the response with the key was begun; until it is delivered, the time of the latest attempt. `null`: there
   * was none. An `active` one then waits for the retry.
   */
  readonly answeredAt: number | null
  /** The time at which it was recorded that a caller received the response; `null`: that is not known. */
  readonly deliveredAt: number | null
  /** `failed`: the time of the sweep, which looks once more for a key that was created late; `null`: none is due. */
  readonly sweepAt: number | null
  /** `pending`: its key may be in deletion already, so it can only be undone. */
  readonly undoing: boolean
  /** The end of the key: its expiry or the end of its overlap. `ending`: the time of the next attempt. `null`: never. */
  readonly endsAt: number | null
  readonly endReason: EndReason | null
  /** Rotation that was answered: the id of the registration or rotation whose key it replaced. */
  readonly replacedId: string | null
  /** The id of the rotation that minted the registration's present key; `null`: the key is the registration's own. */
  readonly currentId: string | null
  /** `active`: the time at which an operator suspended the registration, so that API Gateway disables the key; `null`: not. */
  readonly suspendedAt: number | null
  /** The time at which the key is to be switched off or on in API Gateway, as `suspendedAt` says; `null`: it is. */
  readonly switchAt: number | null
  /** Replaced key that is about to be deleted, or is: its usage of the last 90 days; `null`: it had none, or it was not read. */
  readonly finalUsage: DailyUsage | null
  /** SHA-256 of the previous management token. It authenticates only a retry of the rotation that renewed the token. */
  readonly previousManagementHash: Uint8Array | null
  /**
   * It is a registration of a virtual token and holds one of its places, and its name if {@link Federated.holdsName}: it is
   * pending or alive. Both come back when it fails, or when its present key expires or is revoked.
   */
  readonly holdsPlace: boolean
}
