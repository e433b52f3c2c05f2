import type { Standing } from '../store/listing.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** How a registration stands, as its owner and the operator see it. */
export interface RegistrationView {
  readonly registration: Registration
  /** The registration or rotation whose key it has. */
  readonly current: Registration
  /** The one whose key still works beside it for a while. */
  readonly overlapping: Registration | undefined
  readonly status: Standing
  /** The key ends within a week, or within the last tenth of its life. */
  readonly expiresSoon: boolean
}

const WEEK_MS = 7 * 86_400_000

/** @param now for what expired and is not deleted yet: it counts as expired */
export async function describe(
  store: Store,
  registration: Registration,
  now: number,
): Promise<RegistrationView> {
  const { currentId } = registration
  const current = (currentId === null ? undefined : await store.getRegistration(currentId)) ?? registration
  const replaced = current.replacedId === null ? undefined : await store.getRegistration(current.replacedId)
  const overlapping =
    replaced?.status === 'active' && (replaced.endsAt ?? 0) > now && statusOf(current, now) === 'active'
      ? replaced
      : undefined
  return {
    registration,
    current,
    overlapping,
    status: statusOf(current, now),
    expiresSoon: expiresSoon(current, now),
  }
}

/** How a registration stands, by the registration or rotation whose key it has. */
export function statusOf({ status, endReason, expiresAt }: Registration, now: number): Standing {
  if (status === 'ending' || status === 'ended') return endReason === 'revoked' ? 'revoked' : 'expired'
  return status === 'active' && expiresAt !== null && expiresAt <= now ? 'expired' : status
}

function expiresSoon({ status, createdAt, expiresAt }: Registration, now: number): boolean {
  if (status !== 'active' || expiresAt === null || expiresAt <= now) return false
  return expiresAt - now < Math.min(WEEK_MS, (expiresAt - createdAt) / 10)
}
