import type { PublicStatus } from '../../store/operators.ts'
import type { RecordReader } from '../../store/record-reader.ts'
import type { Registration } from '../../store/records.ts'
import { isUnfinished, publicStatusOf } from '../lifecycle.ts'

/** A registration as its owner and the operator see it. */
export interface RegistrationView {
  readonly registration: Registration
  /** The registration or rotation that minted its present key. */
  readonly current: Registration
  /** The one that minted its previous key, until that key is deleted; otherwise `null`. */
  readonly overlapping: Registration | null
  readonly status: PublicStatus
  /** `true` if the key works and expires within a week, or within a tenth of its lifetime if that is shorter. */
  readonly expiresSoon: boolean
}

const WEEK_MS = 7 * 86_400_000

/**
 * Reads the present state of a registration.
 * @param now the time that decides the status: a key that has expired counts as expired even if it is not deleted yet
 * @throws ServiceError of the store
 */
export async function viewRegistration(
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

/**
 * Lists the records of a registration and its rotations that are unfinished: to be minted or undone, to be returned to a
 * caller, or to be deleted.
 * @throws ServiceError of the store
 */
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
