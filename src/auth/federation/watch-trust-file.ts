import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../../log.ts'
import type { Federation, TrustState } from './federation.ts'
import { trustChanges } from './trust-changes.ts'
import { type TrustSurroundings, trustWarnings } from './trust-warnings.ts'

/** The interval at which the file is looked at (ms). */
const LOOK_MS = 2_000
/** A refused file is read again at each of so many looks: a file that it names may have come, or be right, since. */
const RETRY_LOOKS = 5

export interface TrustFileWatch {
  /** Reads the file again now, and logs the result in any case. */
  reload(): void
  /** Stops looking at the file. */
  stop(): void
}

/**
 * Lets a changed trust file take effect without a restart. Its content is compared, because a ConfigMap is changed by another
 * symbolic link, and the file systems of containers report no such change. A content is taken when two looks in a row find it, so
 * that a file which is being written is not taken half.
 *
 * A file with faults is refused and logged once. The trust before it stays in force until the file, and each file that it names, is
 * right, which is logged too.
 * Likely mistakes in the file are logged at the start, and whenever a new content takes effect.
 */
export function watchTrustFile(
  federation: Pick<Federation, 'trust' | 'reload' | 'state'>,
  { log, everyMs = LOOK_MS, ...surroundings }: TrustSurroundings & { log: Log; everyMs?: number },
): TrustFileWatch {
  const { path } = surroundings
  let seen: string | undefined
  // Nothing counts as taken at first: the file may have changed since the start read it.
  let taken: string | undefined
  let looks = 0

  /** @param isAsked an operator asked for it: there is no second look, and an answer also if nothing has changed */
  async function look(isAsked: boolean): Promise<void> {
    const found = await contentOf(path)
    const isDue = isAsked || (found === seen && found !== taken)
    seen = found
    const { refused } = federation.state()
    // Only with the content that was taken: another one is still being written.
    const isRetry = !isDue && found === taken && refused !== null && ++looks % RETRY_LOOKS === 0
    if (!isDue && !isRetry) return
    if (isDue) taken = found
    take(isAsked, isRetry ? refused : null)
  }

  /** @param retried the refusal that is tried again, and logged again only if it has other faults */
  function take(isAsked: boolean, retried: TrustState['refused']): void {
    const [before, wasRefused] = [federation.trust(), federation.state().refused !== null]
    const { faults } = federation.reload()
    if (faults.length > 0) {
      if (retried !== null && isDeepStrictEqual(faults, retried.faults)) return
      const fields = { trust_file: path, faults }
      log.error(fields, 'the trust file has faults and is refused; the rules before it stay in force')
      return
    }
    const fields = { trust_file: path, ...trustChanges(before, federation.trust()) }
    if (wasRefused) log.info(fields, 'the trust file has no faults any more and is in force')
    else if (Object.keys(fields).length > 1) log.info(fields, 'the changed trust file is in force')
    else if (isAsked) log.info(fields, 'the trust file was read again and has not changed')
    else return
    warn()
  }

  function warn(): void {
    for (const message of trustWarnings(federation.trust(), surroundings))
      log.warn({ trust_file: path }, message)
  }

  const run = (isAsked: boolean) =>
    void look(isAsked).catch((err: unknown) => log.error({ err }, 'the trust file could not be read again'))
  warn()
  const timer = setInterval(run, everyMs, false).unref()
  return {
    reload: () => run(true),
    stop: () => clearInterval(timer),
  }
}

/** Returns the content of the file; of one that cannot be read, the reason, which no file contains. */
async function contentOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    return `\0${error instanceof Error && 'code' in error ? error.code : error}`
  }
}
