import { type Federation, openFederation } from '../auth/federation/federation.ts'
import { trustWarnings } from '../auth/federation/trust-warnings.ts'
import { systemClock } from '../clock.ts'
import { readTrustSettings, type TrustSettings } from '../config.ts'
import type { Log } from '../log.ts'
import { note } from './output.ts'

/** A trust file that was read, and what is to be said about it. */
export interface OpenTrust {
  readonly path: string
  readonly settings: TrustSettings
  readonly federation: Federation
  readonly warnings: readonly string[]
}

/** Prints why the keys of an issuer cannot be read. */
const print = (fields: object, message: string) => {
  const { issuer, reason } = { issuer: '', reason: '', ...fields }
  note(`${issuer}: ${message}${reason === '' ? '' : `: ${reason}`}`)
}
const onStderr: Log = { info: print, warn: print, error: print }

/** Returns the trust file that a command is about. @param named by its argument @throws Error if there is none */
export function trustFileOf(named: string | undefined, { trustFile }: TrustSettings): string {
  const path = named ?? trustFile
  if (path === null) throw new Error('TRUST_FILE is not set: set it to the trust file, or name the file')
  return path
}

/** Reads a trust file as the server does. @param named if it is not TRUST_FILE @throws TrustFileError */
export function openTrust(named?: string): OpenTrust {
  const settings = readTrustSettings(process.env)
  const path = trustFileOf(named, settings)
  const federation = openFederation({ ...settings, path, clock: systemClock, log: onStderr })
  const unchecked = settings.plans === null ? plansOf(federation) : []
  const warnings = [
    ...trustWarnings(federation.trust(), { ...settings, path }),
    ...(unchecked.length === 0
      ? []
      : [`USAGE_PLANS is not set here, so it was not checked that the service has: ${unchecked.join(', ')}`]),
  ]
  return { path, settings, federation, warnings }
}

function plansOf(federation: Federation): string[] {
  return [...new Set(federation.trust().rules.flatMap(({ grant }) => grant.plans))]
}
