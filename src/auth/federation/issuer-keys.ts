import type { CryptoKey } from 'jose'
import type { Clock } from '../../clock.ts'
import { ServiceError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { KeySet } from './key-set.ts'
import type { Issuer } from './trust-file.ts'

/** The age from which keys are read again beside the requests that use them (ms). */
const FRESH_MS = 5 * 60_000
/** The age from which a request waits for newer keys: an issuer that withdraws a key is believed within this time (ms). */
const LONGEST_MS = 15 * 60_000
/** The time between two reads after a failure, and between two reads for tokens with an unknown key (ms). */
const COOLDOWN_MS = 10_000

/** The keys of one issuer. They are read at the first use, and kept. */
export interface IssuerKeys {
  /**
   * Returns the keys that a token with this header can be signed with. Simultaneous requests share one read. Keys that cannot be
   * read again are used as they are.
   * @throws ServiceError `invalid_token` if the issuer has no such key; `identity_provider_unavailable`
   */
  find(alg: string, kid: string | undefined): Promise<CryptoKey[]>
}

export function createIssuerKeys(
  issuer: Issuer,
  { read, clock, log }: { read: () => Promise<KeySet>; clock: Clock; log: Log },
): IssuerKeys {
  let keys: KeySet | undefined
  let readAt = 0
  let reads = 0
  let failedAt: number | undefined
  let lookedAgainAt: number | undefined
  let running: Promise<void> | undefined

  /** A clock that was set back counts as much as one that has moved on. */
  const since = (at: number) => Math.abs(clock() - at)
  const isOver = (at: number | undefined) => at === undefined || since(at) >= COOLDOWN_MS

  async function readOnce(): Promise<void> {
    try {
      const had = keys?.fault ?? null
      keys = await read()
      // Keys that are withdrawn are not used any more, also if no other follow.
      if (keys.fault !== null && had === null)
        log.warn({ issuer: issuer.name, reason: keys.fault }, 'the key set of the issuer verifies no token')
      readAt = clock()
      if (failedAt !== undefined)
        log.info({ issuer: issuer.name }, 'the keys of the issuer can be read again')
      failedAt = undefined
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (failedAt === undefined)
        log.warn(
          { issuer: issuer.name, reason },
          'the keys of the issuer cannot be read; those that are known stay in use',
        )
      failedAt = clock()
    } finally {
      reads += 1
      running = undefined
    }
  }

  function refresh(): Promise<void> {
    running ??= readOnce()
    return running
  }

  async function update(): Promise<void> {
    const age = keys === undefined ? Number.POSITIVE_INFINITY : since(readAt)
    if (age < FRESH_MS || !isOver(failedAt)) return
    // While the issuer is down, known keys are used at once: a server that hangs would cost every caller its time limit.
    if (keys === undefined || (age >= LONGEST_MS && failedAt === undefined)) await refresh()
    else void refresh()
  }

  function unavailable(): ServiceError {
    const rest = COOLDOWN_MS - (failedAt === undefined ? 0 : since(failedAt))
    const retryAfter = Math.max(1, Math.ceil(rest / 1_000))
    return new ServiceError(
      'identity_provider_unavailable',
      `The keys of the issuer ${issuer.url} cannot be read right now.`,
      {
        retryAfter,
        alreadyLogged: true,
      },
    )
  }

  return {
    async find(alg, kid) {
      const before = reads
      await update()
      const known = (await keys?.candidates(alg, kid)) ?? []
      if (known.length > 0) return known
      // The key may be new. Whatever arrives, the issuer is asked once in a while.
      if (
        keys !== undefined &&
        reads === before &&
        isOver(failedAt) &&
        (running !== undefined || isOver(lookedAgainAt))
      ) {
        if (running === undefined) lookedAgainAt = clock()
        await refresh()
        const added = await keys.candidates(alg, kid)
        if (added.length > 0) return added
      }
      if (keys === undefined || failedAt !== undefined) throw unavailable()
      throw new ServiceError(
        'invalid_token',
        `The identity token is signed with a key that its issuer ${issuer.url} does not publish for ${alg}.`,
        {
          nextStep: `Get a fresh identity token. If the issuer has replaced its keys just now, send that one in ${COOLDOWN_MS / 1_000} seconds.`,
        },
      )
    },
  }
}
