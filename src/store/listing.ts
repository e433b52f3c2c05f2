import type { Registration, RegistrationStatus } from './records.ts'

/** How a registration stands by the key that it has now: `expired` also when that key is not deleted yet. */
export type Standing = 'pending' | 'active' | 'failed' | 'expired' | 'revoked'

/** How a registration stands, by the registration or rotation whose key it has. */
export function standingOf({ status, endReason, expiresAt }: Registration, now: number): Standing {
  if (status === 'ending' || status === 'ended') return endReason === 'revoked' ? 'revoked' : 'expired'
  return status === 'active' && expiresAt !== null && expiresAt <= now ? 'expired' : status
}

export interface StandingFilter {
  readonly standing?: Standing | undefined
  readonly tokenId?: string | undefined
  readonly plan?: string | undefined
  /** Only those that are active now and expire by then. */
  readonly expiringBy?: number | undefined
  /** Only those with a key that is being made or may still be in API Gateway. */
  readonly withKey?: boolean | undefined
  /** The last one of the page before. */
  readonly after?: Registration | undefined
  readonly limit: number
}

/** A registration, and the registration or rotation whose key it has now. */
export interface RegistrationWithKey {
  readonly registration: Registration
  readonly current: Registration
}

export interface StandingCount {
  readonly plan: string
  readonly standing: Standing
  readonly count: number
}

export interface RegistrationFilter {
  readonly status?: RegistrationStatus | undefined
  readonly tokenId?: string | undefined
  readonly limit: number
}

/** The part of the store that tells the operator what there is. */
export interface Listing {
  /** How far the lists may be behind what was written, in milliseconds; 0: not at all. */
  readonly listingLagMs: number
  /** Registrations, without their rotations, newest first. */
  listWithKeys(filter: StandingFilter, now: number): Promise<RegistrationWithKey[]>
  /** How many registrations there are, without their rotations. */
  countByStanding(now: number): Promise<StandingCount[]>
  /** How many keys API Gateway holds for this store: those that work, overlapping ones, and what is not deleted yet. */
  countKeys(): Promise<number>
  /** Registrations and rotations as they are recorded, newest first. */
  listRegistrations(filter: RegistrationFilter): Promise<Registration[]>
}
