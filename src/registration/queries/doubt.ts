import type { Registration } from '../../store/records.ts'
import { isInDoubt } from '../lifecycle.ts'
import type { Timing } from '../timing.ts'

/** The doubt whether a caller received the key of a registration or rotation. */
export interface Doubt {
  /** The time at which the response was begun. */
  readonly answeredAt: number
  /** The time from which it is settled, unless a management call or a replay settles it before. */
  readonly until: number
  /**
   * The effect then: a registration whose key was not used is undone; a rotation counts as delivered. `expire`: the key expires
   * before that and is deleted, and its use stays spent.
   */
  readonly effect: 'undo' | 'keep' | 'expire'
}

/**
 * Describes the doubt about a registration or rotation. `null`: there is none.
 * @param inDoubtMs the time after which a registration that is in doubt is undone, in milliseconds
 */
export function doubtOf(
  one: Registration,
  now: number,
  inDoubtMs: number,
  { inDoubtAfter, idempotency: remembered }: Pick<Timing, 'inDoubtAfter' | 'idempotency'>,
): Doubt | null {
  const { answeredAt, createdAt, endsAt, idempotency, rotation } = one
  if (answeredAt === null || !isInDoubt(one, now - inDoubtAfter)) return null
  const over = answeredAt + inDoubtMs
  // Until its idempotency key is forgotten a retry can ask for it.
  const until = rotation === null && idempotency !== null ? Math.max(over, createdAt + remembered) : over
  if (endsAt !== null && endsAt <= until) return { answeredAt, until: endsAt, effect: 'expire' }
  return { answeredAt, until, effect: rotation === null ? 'undo' : 'keep' }
}
