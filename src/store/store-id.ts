import { randomBytes } from 'node:crypto'
import { z } from 'zod'

/** The number of hexadecimal digits of a store's id: 40 random bits tell the stores of one account apart. */
export const STORE_ID_LENGTH = 10

/** A store's id, as it is stored. */
export const storeIdSchema = z.string().regex(new RegExp(`^[0-9a-f]{${STORE_ID_LENGTH}}$`))

/** Returns a new random store id. */
export function newStoreId(): string {
  return randomBytes(STORE_ID_LENGTH / 2).toString('hex')
}
