import { type Standing, standingOf } from '../store/listing.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** How a registration stands, as its owner and the operator see it. */
export interface RegistrationView {
  readonly registration: Registration
  /** The registration or rotation whose key it has. */
  readonly current: Registration
  /** The one before, as long as its key may still work: in its overlap, or not deleted yet. */
  readonly overlapping: Registration | null
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
  const overlapping = replaced?.status === 'active' || replaced?.status === 'ending' ? replaced : null
  return {
    registration,
    current,
    overlapping,
    status: standingOf(current, now),
    expiresSoon: expiresSoon(current, now),
  }
}

/** What of a registration and its rotations is left to do: to be made, to be answered, or to be deleted. */
export async function unfinishedOf(store: Store, registration: Registration): Promise<Registration[]> {
  const all = [registration, ...(await store.listRotations(registration.id))]
  return all.filter(
    ({ status, answeredAt }) =>
      status === 'pending' || status === 'ending' || (status === 'active' && answeredAt === null),
  )
}

function expiresSoon({ status, createdAt, expiresAt }: Registration, now: number): boolean {
  if (status !== 'active' || expiresAt === null || expiresAt <= now) return false
  return expiresAt - now < Math.min(WEEK_MS, (expiresAt - createdAt) / 10)
}
