import type { PublicStatus } from '../../store/operators.ts'
import type { RecordReader } from '../../store/record-reader.ts'
import type { Registration } from '../../store/records.ts'
import { isUnfinished, publicStatusOf } from '../lifecycle.ts'

/** How a registration stands, as its owner and the operator see it. */
export interface RegistrationView {
  readonly registration: Registration
  /** The registration or rotation whose key it has. */
  readonly current: Registration
  /** The one before, as long as its key may still work: in its overlap, or not deleted yet. */
  readonly overlapping: Registration | null
  readonly status: PublicStatus
  /** The key ends within a week, or within the last tenth of its life. */
  readonly expiresSoon: boolean
}

const WEEK_MS = 7 * 86_400_000

/** @param now for what expired and is not deleted yet: it counts as expired */
export async function describe(
  store: RecordReader,
  registration: Registration,
  now: number,
): Promise<RegistrationView> {
  const { currentId } = registration
  const current = currentId === null ? registration : await store.getRegistration(currentId)
  if (current === undefined) throw new Error(`the present key ${currentId} of ${registration.id} is missing`)
  const replaced = current.replacedId === null ? undefined : await store.getRegistration(current.replacedId)
  const overlapping = replaced?.status === 'active' || replaced?.status === 'ending' ? replaced : null
  return {
    registration,
    current,
    overlapping,
    status: publicStatusOf(current, now),
    expiresSoon: expiresSoon(current, now),
  }
}

/** What of a registration and its rotations is left to do: to be made, to be answered, or to be deleted. */
export async function listUnfinished(
  store: RecordReader,
  registration: Registration,
): Promise<Registration[]> {
  const all = [registration, ...(await store.listRotations(registration.id))]
  return all.filter(isUnfinished)
}

function expiresSoon({ status, createdAt, expiresAt }: Registration, now: number): boolean {
  if (status !== 'active' || expiresAt === null || expiresAt <= now) return false
  return expiresAt - now < Math.min(WEEK_MS, (expiresAt - createdAt) / 10)
}
