import { readInDoubtMs } from '../config.ts'
import { type Doubt, doubtOf } from '../registration/queries/doubt.ts'
import { defaultTiming } from '../registration/timing.ts'
import type { Registration } from '../store/records.ts'
import type { UpkeepQueries } from '../store/upkeep.ts'
import { isoTime, showTime } from './format.ts'

/** As many as API Gateway has keys. */
const ALL = 10_000

/** Returns the doubt about a registration or rotation by the server's configuration; `null`: there is none. */
export function readDoubt(one: Registration, now: number): Doubt | null {
  return doubtOf(one, now, readInDoubtMs(process.env), defaultTiming)
}

/** Lists the registrations and rotations that are in doubt, longest first. @throws ServiceError of the store */
export async function listDoubts(
  store: UpkeepQueries,
  now: number,
): Promise<{ registration: Registration; doubt: Doubt }[]> {
  const found = await store.listInDoubt(now - defaultTiming.inDoubtAfter, ALL)
  return found.flatMap((registration) => {
    const doubt = readDoubt(registration, now)
    return doubt === null ? [] : { registration, doubt }
  })
}

/** Describes a doubt in words. */
export function describeDoubt({ answeredAt, until, effect }: Doubt): string {
  const since = `its response of ${showTime(answeredAt)} may not have arrived`
  switch (effect) {
    case 'undo':
      return `${since}; unless its owner manages it or uses the key, it is undone after ${showTime(until)}`
    case 'keep':
      return `${since}; it counts as delivered after ${showTime(until)}, because its owner can rotate again`
    case 'expire':
      return `${since}; its key expires at ${showTime(until)}, and the use stays spent`
  }
}

/** The JSON of a doubt. @param id the registration or rotation */
export function doubtJson(id: string, { answeredAt, until, effect }: Doubt): object {
  return { id, answered_at: isoTime(answeredAt), until: isoTime(until), effect }
}
